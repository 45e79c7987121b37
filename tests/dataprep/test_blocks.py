"""Hold the block codec to its written layout, to its own inverse, and to refusing what is not whole."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.records.blocks import Values, decode_block, encode_block
from penstock_shared.errors import DataRefused
from penstock_shared.layout import WIDTH_BYTES, Column

INTEGER_LIMITS = {
    "u8": (0, 2**8 - 1),
    "u16": (0, 2**16 - 1),
    "u24": (0, 2**24 - 1),
    "u32": (0, 2**32 - 1),
    "i64": (-(2**63), 2**63 - 1),
}
LONGEST = {"u8": 3, "u16": 300, "u24": 300, "u32": 300}


def numbers_of(storage: str, count: int, seed: int) -> np.ndarray:
    """Return numbers over the whole range of a storage, its limits always among the first."""
    random = np.random.default_rng(seed)
    if storage in INTEGER_LIMITS:
        smallest, largest = INTEGER_LIMITS[storage]
        drawn = random.integers(smallest, largest, count, dtype=np.int64, endpoint=True)
        drawn[:2] = [smallest, largest][:count]
        return drawn
    bits = random.integers(0, 2**32, count, dtype=np.uint64).astype(np.uint32)
    if storage == "f16":
        return bits.astype(np.uint16).view(np.float16)
    return (bits & 0xFFFF0000 if storage == "bf16" else bits).astype(np.uint32).view(np.float32)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[tuple[Column, ...], list[Values], int]:
    rows = draw(st.integers(0, 40))
    columns, held = [], []
    for position in range(draw(st.integers(1, 4))):
        storage = draw(st.sampled_from(sorted(WIDTH_BYTES)))
        lengths_storage = draw(st.sampled_from([None, *LONGEST]))
        nullable = lengths_storage is None and draw(st.booleans())
        seed = draw(st.integers(0, 2**32))
        random = np.random.default_rng(seed)
        lengths = None
        if lengths_storage is not None:
            lengths = random.integers(0, LONGEST[lengths_storage], rows, endpoint=True)
        present = random.random(rows) < 0.7 if nullable else None
        width = 1 if lengths_storage or nullable else draw(st.sampled_from([1, 1, 2, 7]))
        columns.append(
            Column(
                name=f"c{position}",
                storage=storage,
                lengths=lengths_storage,
                nullable=nullable,
                values_per_row=width,
            )
        )
        count = rows if lengths is None else int(lengths.sum())
        numbers = numbers_of(storage, count * width, seed)
        held.append(Values(numbers if width == 1 else numbers.reshape(rows, width), lengths, present))
    return tuple(columns), held, rows


def bits(numbers: np.ndarray) -> np.ndarray:
    """Return floats as the integers of their bits, so that NaNs compare."""
    return numbers.view(f"u{numbers.itemsize}") if numbers.dtype.kind == "f" else numbers


@given(blocks())
def test_decoding_returns_what_was_encoded(block) -> None:
    columns, held, rows = block
    found_rows, found = decode_block(columns, encode_block(columns, held, rows), "here")
    assert found_rows == rows
    for expected, got in zip(held, found, strict=True):
        present = slice(None) if expected.present is None else expected.present
        np.testing.assert_array_equal(bits(got.numbers)[present], bits(expected.numbers)[present])
        for one, other in ((expected.lengths, got.lengths), (expected.present, got.present)):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_array_equal(one, other)


@given(blocks(), st.data())
def test_a_slice_holds_its_rows(block, data: st.DataObject) -> None:
    columns, held, rows = block
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    head, middle, tail = (
        [values.slice(*edges) for values in held] for edges in ((0, start), (start, stop), (stop, rows))
    )
    for position in range(len(columns)):
        pieces = [part[position] for part in (head, middle, tail)]
        for attribute in ("numbers", "lengths", "present"):
            whole = getattr(held[position], attribute)
            if whole is None:
                assert all(getattr(piece, attribute) is None for piece in pieces)
            else:
                joined = np.concatenate([getattr(piece, attribute) for piece in pieces])
                np.testing.assert_array_equal(bits(joined), bits(whole))
    payload = encode_block(columns, middle, stop - start)
    assert decode_block(columns, payload, "here")[0] == stop - start


GOLDEN_COLUMNS = (
    Column(name="a", storage="u8"),
    Column(name="b", storage="u16"),
    Column(name="c", storage="u24"),
    Column(name="d", storage="u32"),
    Column(name="e", storage="i64"),
    Column(name="f", storage="f16", nullable=True),
    Column(name="g", storage="bf16"),
    Column(name="h", storage="u16", lengths="u8"),
)
GOLDEN_VALUES = [
    Values(np.array([0, 1, 127, 128, 255])),
    Values(np.array([0, 1, 256, 65535, 0x1234])),
    Values(np.array([0, 1, 256, 2**24 - 1, 0x123456])),
    Values(np.array([0, 1, 2**32 - 1, 2**31, 0x12345678])),
    Values(np.array([0, -1, -(2**63), 2**63 - 1, 0x123456789ABCDEF0])),
    Values(np.float16([0.5, 9, 5, 9, -2]), None, np.array([True, False, True, False, True])),
    Values(np.float32([0, 1, -2, 3, np.inf])),
    Values(np.array([1, 2, 3, 4, 65535, 7]), np.array([2, 0, 0, 3, 1])),
]


def test_golden_bytes(golden_bytes: Callable[[str], bytes]) -> None:
    # Every published dataset holds such bytes: where they change, the layout version must.
    assert encode_block(GOLDEN_COLUMNS, GOLDEN_VALUES, 5) == golden_bytes("blocks_v1.hex")


def test_every_truncated_block_is_refused(golden_bytes: Callable[[str], bytes]) -> None:
    payload = golden_bytes("blocks_v1.hex")
    for size in range(len(payload)):
        with pytest.raises(DataRefused, match=r"shard-7: .*(too short|no row count)"):
            decode_block(GOLDEN_COLUMNS, payload[:size], "shard-7")


def test_a_longer_block_is_refused(golden_bytes: Callable[[str], bytes]) -> None:
    with pytest.raises(DataRefused, match="shard-7: the block has 2 bytes more than its 5 rows need"):
        decode_block(GOLDEN_COLUMNS, golden_bytes("blocks_v1.hex") + b"\0\0", "shard-7")


@pytest.mark.parametrize("rows", [0, 4, 6, 2**32 - 1])
def test_another_row_count_is_refused(golden_bytes: Callable[[str], bytes], rows: int) -> None:
    payload = struct.pack("<I", rows) + golden_bytes("blocks_v1.hex")[4:]
    with pytest.raises(DataRefused, match="shard-7"):
        decode_block(GOLDEN_COLUMNS, payload, "shard-7")


def test_a_list_column_needs_lengths() -> None:
    with pytest.raises(ValueError, match="column history is a list column"):
        encode_block((Column(name="history", storage="u8", lengths="u8"),), [Values(np.array([1]))], 1)


def test_a_missing_number_is_stored_as_zero() -> None:
    column = Column(name="rating", storage="u8", nullable=True)
    payload = encode_block((column,), [Values(np.array([7, 9]), None, np.array([False, True]))], 2)
    assert payload == bytes([2, 0, 0, 0, 0b10, 0, 9])
