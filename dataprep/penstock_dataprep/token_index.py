"""Look up 64-bit token hashes in an immutable, memory-mapped table, a whole array at a time.

The table is open addressing with linear probing over a power-of-two number of slots at most half full. A hash's home
slot is its high bits, so laying out hashes in ascending order fills the table in one vectorised pass, and one file is
shared by all threads and processes of a machine through the page cache.
"""

from dataclasses import dataclass

import numpy as np

from penstock_dataprep.scratch import Scratch
from penstock_dataprep.sorting import argsort_words

ABSENT = 0


@dataclass(frozen=True)
class TokenIndex:
    """Map uint64 hashes to positive int64 values; `values` is ABSENT in an empty slot."""

    keys: np.ndarray
    values: np.ndarray
    slot_bits: int

    @classmethod
    def build(cls, hashes: np.ndarray, values: np.ndarray) -> "TokenIndex":
        """Lay out distinct uint64 hashes and their positive values."""
        slot_bits = max(1, (2 * len(hashes) - 1).bit_length())
        order = argsort_words(hashes)
        hashes, values = hashes[order], values[order]
        count = np.arange(len(hashes))
        # Linear probing in hash order: each key goes to its home slot or right behind its predecessor.
        slots = count + np.maximum.accumulate(_home(hashes, slot_bits) - count) if len(hashes) else count
        # One empty slot past the last key ends every probe, so probes never wrap around.
        size = max(1 << slot_bits, int(slots[-1]) + 1 if len(slots) else 0) + 1
        keys, held = np.zeros(size, np.uint64), np.zeros(size, np.int64)
        keys[slots], held[slots] = hashes, values
        return cls(keys, held, slot_bits)

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Return the int64 value of each hash, ABSENT where it is not in the table."""
        slots = _home(hashes, self.slot_bits)
        values = self.values[slots]
        found = np.where(self.keys[slots] == hashes, values, ABSENT)
        probing = np.flatnonzero((found == ABSENT) & (values != ABSENT))
        while len(probing):
            slots[probing] += 1
            here = slots[probing]
            values = self.values[here]
            matches = self.keys[here] == hashes[probing]
            found[probing] = np.where(matches, values, ABSENT)
            probing = probing[~matches & (values != ABSENT)]
        return found

    def save(self, scratch: Scratch, name: str) -> None:
        """Write the table to scratch files."""
        scratch.write_array(f"{name}.keys", self.keys)
        scratch.write_array(f"{name}.values", self.values)
        scratch.write_array(f"{name}.bits", np.array([self.slot_bits], np.int64))

    @classmethod
    def load(cls, scratch: Scratch, name: str) -> "TokenIndex":
        """Map the table from scratch files."""
        bits = int(scratch.map_array(f"{name}.bits", "<i8")[0])
        return cls(scratch.map_array(f"{name}.keys", "<u8"), scratch.map_array(f"{name}.values", "<i8"), bits)


def _home(hashes: np.ndarray, slot_bits: int) -> np.ndarray:
    return (hashes >> np.uint64(64 - slot_bits)).astype(np.int64)
