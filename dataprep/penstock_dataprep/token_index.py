"""Look up 64-bit token hashes in immutable, memory-mapped tables, a whole array at a time.

The leading bits of a hash choose a table, so that each is built on its own and stays small. A table is open
addressing with linear probing, at most half full. A hash's home slot is its following bits, scaled to the
number of slots, so laying out hashes in ascending order fills the table in one vectorised pass. The files are shared
by all threads and processes of a machine through the page cache.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from penstock_dataprep.counting import partition_edges
from penstock_dataprep.scratch import Scratch
from penstock_dataprep.sorting import argsort_words

ABSENT = 0
SLOTS_PER_KEY = 2
HASHES_PER_CHUNK = 1 << 15  # what is held of a chunk stays in the L2 cache
HOME_BITS = np.uint64(32)


@dataclass(frozen=True)
class Table:
    """Map the hashes that share their leading `bits` bits to positive values; a value is ABSENT in an empty slot.

    `keys` is uint64 and `values` uint32, one per slot; `homes` of the slots can be a home, the others take overflow.
    """

    keys: np.ndarray
    values: np.ndarray
    homes: int
    bits: int

    @classmethod
    def build(cls, hashes: np.ndarray, values: np.ndarray, bits: int) -> "Table":
        """Lay out distinct uint64 hashes, equal in their leading `bits` bits, and their positive values."""
        order = argsort_words(hashes)
        hashes, values = hashes[order], values[order]
        homes = max(1, SLOTS_PER_KEY * len(hashes))
        count = np.arange(len(hashes))
        # Linear probing in hash order: each key goes to its home slot or right behind its predecessor.
        slots = count + np.maximum.accumulate(_home(hashes, homes, bits) - count) if len(hashes) else count
        # One empty slot past the last key ends every probe, so probes never wrap around.
        size = max(homes, int(slots[-1]) + 1 if len(slots) else 0) + 1
        keys, held = np.zeros(size, np.uint64), np.zeros(size, np.uint32)
        keys[slots], held[slots] = hashes, values
        return cls(keys, held, homes, bits)

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Return the int64 value of each hash, ABSENT where it is not in the table."""
        found = np.empty(len(hashes), np.int64)
        for start in range(0, len(hashes), HASHES_PER_CHUNK):
            chunk = slice(start, start + HASHES_PER_CHUNK)
            found[chunk] = self._find_chunk(hashes[chunk])
        return found

    def _find_chunk(self, hashes: np.ndarray) -> np.ndarray:
        slots = _home(hashes, self.homes, self.bits)
        values, is_match = self.values[slots], self.keys[slots] == hashes
        found = np.where(is_match, values, np.uint32(ABSENT))
        probing = np.flatnonzero(~is_match & (values != ABSENT))
        slots, hashes = slots[probing], hashes[probing]
        while len(probing):
            slots += 1
            values, is_match = self.values[slots], self.keys[slots] == hashes
            found[probing[is_match]] = values[is_match]
            goes_on = np.flatnonzero(~is_match & (values != ABSENT))
            probing, slots, hashes = probing[goes_on], slots[goes_on], hashes[goes_on]
        return found

    def save(self, scratch: Scratch, name: str) -> None:
        """Write the table to scratch files."""
        scratch.write_array(f"{name}.keys", self.keys)
        scratch.write_array(f"{name}.values", self.values)
        scratch.write_array(f"{name}.homes", np.array([self.homes], np.int64))

    @classmethod
    def load(cls, scratch: Scratch, name: str, bits: int) -> "Table":
        """Map the table from scratch files."""
        homes = int(scratch.map_shared(f"{name}.homes", "<i8")[0])
        return cls(scratch.map_shared(f"{name}.keys", "<u8"), scratch.map_shared(f"{name}.values", "<u4"), homes, bits)


@dataclass(frozen=True)
class TokenIndex:
    """Map uint64 hashes to positive values over 2^bits tables."""

    scratch: Scratch
    name: str
    bits: int

    def write(self, partition: int, hashes: np.ndarray, values: np.ndarray) -> None:
        """Write the table of the hashes whose leading bits are `partition`."""
        Table.build(hashes, values, self.bits).save(self.scratch, f"{self.name}.{partition:05d}")

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Return the int64 value of each of some ascending hashes, ABSENT where it is in no table.

        In their order they walk each table from front to back, so that memory is read in sequence.
        """
        edges = itertools.pairwise(partition_edges(hashes, self.bits).tolist())
        found = [self._table(at).find(hashes[start:stop]) for at, (start, stop) in enumerate(edges) if stop > start]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _table(self, partition: int) -> Table:
        return Table.load(self.scratch, f"{self.name}.{partition:05d}", self.bits)


def _home(hashes: np.ndarray, homes: int, bits: int) -> np.ndarray:
    following = (hashes << np.uint64(bits)) >> HOME_BITS
    return ((following * np.uint64(homes)) >> HOME_BITS).astype(np.int64)
