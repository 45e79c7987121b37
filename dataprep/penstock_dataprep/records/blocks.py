"""Encode columns of numbers as block payloads, and decode them again (the layout is in penstock_shared.layout)."""

import functools
import struct
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_shared.errors import DataRefused
from penstock_shared.layout import BLOCK_HEADER_BYTES, WIDTH_BYTES, Column

U24 = np.dtype([("low", "<u2"), ("high", "u1")])
PLAIN_DTYPES: dict[str, str] = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "i64": "<i8", "f16": "<f2", "f32": "<f4"}


@dataclass(frozen=True)
class Values:
    """Hold one column's numbers for some rows.

    `numbers` is one per row, or a row of them ([rows, values_per_row]) for vectors, or for a list column all lists'
    values end to end with `lengths` per row.
    `present` is a bool per row for a nullable column; a number that is not present is ignored.
    """

    numbers: np.ndarray
    lengths: np.ndarray | None = None
    present: np.ndarray | None = None

    def slice(self, start: int, stop: int) -> "Values":
        """Return the values of rows `start` to `stop`."""
        present = None if self.present is None else self.present[start:stop]
        if self.lengths is None:
            return Values(self.numbers[start:stop], None, present)
        edges = self._edges
        return Values(self.numbers[edges[start] : edges[stop]], self.lengths[start:stop], present)

    @classmethod
    def of(cls, array: pa.Array) -> "Values":
        """Return the values of an Arrow column of numbers, lists or vectors."""
        if pa.types.is_list(array.type):
            return cls(array.flatten().to_numpy(), np.diff(array.offsets.to_numpy()))
        if pa.types.is_fixed_size_list(array.type):
            return cls(array.flatten().to_numpy().reshape(len(array), array.type.list_size))
        if array.null_count:
            return cls(array.fill_null(0).to_numpy(), present=array.is_valid().to_numpy(zero_copy_only=False))
        return cls(array.to_numpy())

    @classmethod
    def concatenate(cls, pieces: list["Values"]) -> "Values":
        """Return the values of all pieces' rows, end to end."""
        if not pieces:
            return cls(np.zeros(0, np.int64))
        lengths = [piece.lengths for piece in pieces if piece.lengths is not None]
        present = [piece.present for piece in pieces if piece.present is not None]
        return cls(
            np.concatenate([piece.numbers for piece in pieces]),
            np.concatenate(lengths) if lengths else None,
            np.concatenate(present) if present else None,
        )

    @functools.cached_property
    def _edges(self) -> np.ndarray:
        assert self.lengths is not None
        return np.append(0, np.cumsum(self.lengths, dtype=np.int64))


def encode_block(columns: tuple[Column, ...], values: list[Values], rows: int) -> bytes:
    """Return the payload of one block of `rows` rows; `values` runs parallel to `columns`."""
    parts = [struct.pack("<I", rows)]
    for column, held in zip(columns, values, strict=True):
        numbers = held.numbers
        if column.nullable:
            present = np.ones(rows, bool) if held.present is None else held.present
            parts.append(np.packbits(present, bitorder="little").tobytes())
            numbers = np.where(present, numbers, numbers.dtype.type(0))
        if column.lengths is not None:
            if held.lengths is None:
                raise ValueError(f"column {column.name} is a list column, but its values have no lengths")
            parts.append(encode_numbers(held.lengths, column.lengths))
        parts.append(encode_numbers(numbers, column.storage))
    return b"".join(parts)


def decode_block(columns: tuple[Column, ...], payload: bytes, where: str) -> tuple[int, list[Values]]:
    """Return (rows, values parallel to `columns`) of a block's payload.

    Raises DataRefused naming `where` when the payload is not exactly as long as its columns need.
    """
    if len(payload) < BLOCK_HEADER_BYTES:
        raise DataRefused(f"{where}: a block of {len(payload)} bytes has no row count; is it a penstock block?")
    (rows,) = struct.unpack_from("<I", payload)
    offset, values = BLOCK_HEADER_BYTES, []

    def take(count: int, what: str) -> bytes:
        nonlocal offset
        piece = payload[offset : offset + count]
        if len(piece) != count:
            raise DataRefused(
                f"{where}: the block ends inside {what}: {len(payload)} bytes for {rows} rows is too short"
            )
        offset += count
        return piece

    for column in columns:
        present = lengths = None
        if column.nullable:
            bits = np.frombuffer(take(-(-rows // 8), f"the presence bitmap of {column.name}"), np.uint8)
            present = np.unpackbits(bits, count=rows, bitorder="little").astype(bool)
        count = rows * column.values_per_row
        if column.lengths is not None:
            lengths = decode_numbers(
                take(rows * WIDTH_BYTES[column.lengths], f"the lengths of {column.name}"), column.lengths
            )
            count = int(lengths.sum(dtype=np.int64))
        piece = take(count * WIDTH_BYTES[column.storage], f"the values of {column.name}")
        numbers = decode_numbers(piece, column.storage)
        if column.values_per_row > 1:
            numbers = numbers.reshape(rows, column.values_per_row)
        values.append(Values(numbers, lengths, present))
    if offset != len(payload):
        raise DataRefused(f"{where}: the block has {len(payload) - offset} bytes more than its {rows} rows need")
    return rows, values


def encode_numbers(numbers: np.ndarray, storage: str) -> bytes:
    """Return `numbers` in little-endian `storage` width; they must fit, which the caller has measured."""
    numbers = numbers.reshape(-1)
    if storage == "u24":
        wide, packed = numbers.astype("<u4", copy=False), np.empty(len(numbers), U24)
        packed["low"], packed["high"] = wide, wide >> 16
        return packed.tobytes()
    if storage == "bf16":
        # Measured to be exact, so the low half of the float32 is zero and cutting it loses nothing.
        return np.ascontiguousarray(numbers.astype("<f4", copy=False)).view("<u2")[1::2].tobytes()
    return numbers.astype(PLAIN_DTYPES[storage], copy=False).tobytes()


def decode_numbers(piece: bytes, storage: str) -> np.ndarray:
    """Return the numbers of a piece in `storage` width: unsigned, int64, float16 or float32."""
    if storage == "u24":
        wide = np.zeros((len(piece) // 3, 4), np.uint8)
        wide[:, :3] = np.frombuffer(piece, np.uint8).reshape(-1, 3)
        return wide.view("<u4").reshape(-1)
    if storage == "bf16":
        wide_halves = np.zeros((len(piece) // 2, 2), "<u2")
        wide_halves[:, 1] = np.frombuffer(piece, "<u2")
        return wide_halves.view("<f4").reshape(-1)
    return np.frombuffer(piece, PLAIN_DTYPES[storage])
