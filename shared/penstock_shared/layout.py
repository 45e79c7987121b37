"""Describe how rows become bytes: the storage widths, the block payload and its two record layouts.

A dataset file is a TFRecord file. In the `blocks` layout each record's payload is a block of rows:

    u32 rows
    for each column, in the manifest's order:
        nullable: presence bitmap, ceil(rows / 8) bytes, lowest bit first, 1 = a value is present
        list:     row lengths, `rows` little-endian integers of the `lengths` storage
        values:   little-endian numbers of the `storage` width, `values_per_row` of them for each row that is no list;
                  a missing value is stored as 0

In the `examples` layout each record is one serialised `tf.train.Example`: integers in an int64_list,
floats in a float_list, a missing value as an absent feature.

Either way a split has a block index: the byte offset, in its shard, of each run of `rows_per_block` rows
(in `blocks`, of each record), as little-endian u64, shard after shard. The last run of a shard may be short.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from penstock_shared.strict import Strict

LAYOUT_VERSION: Literal[1] = 1
BLOCK_HEADER_BYTES = 4
TFRECORD_HEADER_BYTES = 12
TFRECORD_FOOTER_BYTES = 4
BLOCK_INDEX_ENTRY_BYTES = 8

IntegerStorage = Literal["u8", "u16", "u24", "u32", "i64"]
Storage = Literal["u8", "u16", "u24", "u32", "i64", "f16", "bf16", "f32"]
LengthStorage = Literal["u8", "u16", "u24", "u32"]
LayoutKind = Literal["blocks", "examples"]

WIDTH_BYTES: dict[str, int] = {"u8": 1, "u16": 2, "u24": 3, "u32": 4, "i64": 8, "f16": 2, "bf16": 2, "f32": 4}


class Column(Strict):
    """Describe one column of a block; `lengths` is set for a list column and is None for a scalar one.

    A column of vectors has `values_per_row` numbers in every row.
    """

    name: str
    storage: Storage
    lengths: LengthStorage | None = None
    nullable: bool = False
    values_per_row: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "Column":
        if self.lengths is not None and self.values_per_row > 1:
            raise ValueError(f"1 value for each entry of a list column, found {self.values_per_row}")
        return self

    def digested(self) -> dict[str, JsonValue]:
        """Return what a digest covers; what only vectors have is left out elsewhere, so that older digests hold."""
        return self.model_dump(exclude={"values_per_row"} if self.values_per_row == 1 else None)


class RecordLayout(Strict):
    """Name the record layout of a dataset and the number of rows in each full block."""

    kind: LayoutKind
    version: Literal[1] = LAYOUT_VERSION
    rows_per_block: Annotated[int, Field(ge=1, le=2**24)]


def narrowest_integer(smallest: int, largest: int) -> IntegerStorage:
    """Return the narrowest storage that holds every integer from `smallest` to `largest`.

    Raises ValueError when neither an unsigned width up to 32 bits nor int64 holds them.
    """
    if smallest >= 0:
        if largest < 2**8:
            return "u8"
        if largest < 2**16:
            return "u16"
        if largest < 2**24:
            return "u24"
        if largest < 2**32:
            return "u32"
    if smallest < -(2**63) or largest >= 2**63:
        raise ValueError(f"integers from {smallest} to {largest} do not fit int64")
    return "i64"


def narrowest_length(largest: int) -> LengthStorage:
    """Return the narrowest storage for row lengths up to `largest`."""
    storage = narrowest_integer(0, largest)
    if storage == "i64":
        raise ValueError(f"a list of {largest} values is longer than 2^32 - 1")
    return storage


def scalar_row_bytes(columns: tuple[Column, ...]) -> float:
    """Return the bytes one row takes in a large block, list values not counted."""
    return sum(
        WIDTH_BYTES[column.lengths or column.storage] * column.values_per_row + (1 / 8 if column.nullable else 0)
        for column in columns
    )
