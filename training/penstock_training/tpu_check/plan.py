"""Plan the tables over the chips: which go to embedding cores, sharded by row, and what they take of a chip's HBM."""

from dataclasses import dataclass
from math import ceil

from penstock_training.tpu.limits import Limits

BYTES_PER_VALUE = 4
# SparseCores address vectors in pieces of 8 values, and shards in pieces of 8 rows.
ALIGNMENT = 8


@dataclass(frozen=True)
class TablePlan:
    """Hold where a table of float32 [rows, width] goes, with `slots` numbers of the optimiser beside each number."""

    name: str
    rows: int
    width: int
    slots: float
    sharded: bool
    chips: int
    cores_per_chip: int
    # What SparseCores may ask of each other, where there are any and a step looks the table up.
    limits: Limits | None = None

    @property
    def bytes(self) -> int:
        """Return the bytes of the table and its slots: rows x width x 4 x (1 + slots)."""
        return round(self.rows * self.width * BYTES_PER_VALUE * (1 + self.slots))

    @property
    def bytes_per_chip(self) -> int:
        """Return what a chip holds: of a sharded table every chips-th row, both sides of it padded; else all."""
        if not self.sharded:
            return self.bytes
        rows = padded(self.rows, ALIGNMENT * self.chips * max(1, self.cores_per_chip)) // self.chips
        return round(rows * padded(self.width, ALIGNMENT) * BYTES_PER_VALUE * (1 + self.slots))


def padded(count: int, multiple: int) -> int:
    """Return the least multiple that is not smaller."""
    return ceil(count / multiple) * multiple


def padding_share(counts: tuple[int, ...], multiples: tuple[int, ...]) -> float:
    """Return the share of a padded block, of `counts` rounded up to `multiples`, that is padding."""
    kept = 1.0
    for count, multiple in zip(counts, multiples, strict=True):
        kept *= count / padded(count, multiple)
    return 1.0 - kept
