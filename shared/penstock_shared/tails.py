"""Describe the latest events of each key, which a version keeps for the histories of rows appended to it."""

from typing import Annotated

from pydantic import Field, model_validator

from penstock_shared.files import Count, File
from penstock_shared.layout import Column, IntegerStorage, LengthStorage
from penstock_shared.strict import Strict

MOST_PARTITION_BITS = 12


class TailColumn(Strict):
    """Describe one column of the events: `values` are those of the rows, ids where the column has a vocabulary.

    A later version may know a token that this one does not. So `tokens` holds those of the values outside the
    vocabulary, in their order: integers, or the UTF-8 bytes of texts, whose lengths are in `token_bytes`.
    """

    values: Column
    tokens: Column | None = None
    token_bytes: Column | None = None

    @property
    def blocks(self) -> tuple[Column, ...]:
        """Return the columns of a block that it takes."""
        return tuple(column for column in (self.values, self.tokens, self.token_bytes) if column is not None)


class TailFile(File):
    """Point at one file of tails: those whose keys' hashes start with the bits of `partition`."""

    partition: Count
    keys: Annotated[int, Field(ge=1)]
    events: Annotated[int, Field(ge=1)]


class Tails(Strict):
    """Describe the tails: for each value of column `key`, its latest `kept` events, or all where it has no more.

    The files are TFRecord files of blocks (see penstock_shared.layout). A row of a block is a key: its 64-bit hash, the
    number of its events ever seen, and lists of the times and values of those kept, by time. Keys ascend by hash, whose
    leading `partition_bits` bits choose the file; there is none for a partition without keys. `seen` is the sum of the
    numbers of events ever seen.
    """

    key: str
    kept: Annotated[int, Field(ge=1)]
    time_storage: IntegerStorage
    lengths: LengthStorage
    columns: tuple[TailColumn, ...]
    partition_bits: Annotated[int, Field(ge=0, le=MOST_PARTITION_BITS)]
    keys: Count
    events: Count
    seen: Count
    files: tuple[TailFile, ...]

    @model_validator(mode="after")
    def _adds_up(self) -> "Tails":
        for quantity in ("keys", "events"):
            total = sum(getattr(file, quantity) for file in self.files)
            if total != getattr(self, quantity):
                raise ValueError(f"{quantity} equal to the sum over the files, {total}")
        if self.seen < self.events:
            raise ValueError(f"at least the {self.events} events kept, found {self.seen}")
        partitions = [file.partition for file in self.files]
        if partitions != sorted(set(partitions)) or partitions[-1:] >= [1 << self.partition_bits]:
            raise ValueError(f"files of ascending partitions below 2^{self.partition_bits}, found {partitions}")
        return self

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def block_columns(self) -> tuple[Column, ...]:
        """Return the columns of a block."""
        return (
            Column(name="key", storage="i64"),
            Column(name="seen", storage="u32"),
            Column(name="time", storage=self.time_storage, lengths=self.lengths),
            *(column for held in self.columns for column in held.blocks),
        )
