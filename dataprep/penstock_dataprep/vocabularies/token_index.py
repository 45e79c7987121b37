"""Look up 64-bit token hashes in immutable, memory-mapped tables, a whole array at a time.

The leading bits of a hash choose a table, so that each is built on its own and stays small. A table is its hashes in
ascending order, and a directory of where those begin that share their following bits, about one hash each: from there
a search goes on hash by hash. The files are shared by all threads and processes of a machine through the page cache.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from penstock_dataprep.order.sorting import sort_words
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.counting import partition_edges

ABSENT = 0
BYTES_PER_KEY = 16  # of a table: the hash, its value, and a place in the directory
HASHES_PER_CHUNK = 1 << 15  # what is held of a chunk stays in the L2 cache
HOME_BITS = np.uint64(32)
LAST = np.uint64(2**64 - 1)  # ends every search


@dataclass(frozen=True)
class Table:
    """Map the hashes that share their leading `bits` bits to positive values.

    `keys` are the uint64 hashes in ascending order and then LAST, `values` their uint32 values and then ABSENT.
    `firsts` is, by home, the uint32 place of the first key that is of this home or a later one.
    """

    keys: np.ndarray
    values: np.ndarray
    firsts: np.ndarray
    bits: int

    @classmethod
    def build(cls, hashes: np.ndarray, values: np.ndarray, bits: int) -> "Table":
        """Lay out distinct uint64 hashes, equal in their leading `bits` bits, and their positive values."""
        order, ordered = sort_words(hashes)
        homes = max(1, len(hashes))
        keys_per_home = np.bincount(_home(ordered, homes, bits), minlength=homes)
        firsts = (np.cumsum(keys_per_home) - keys_per_home).astype(np.uint32)
        return cls(np.append(ordered, LAST), np.append(values[order], ABSENT).astype(np.uint32), firsts, bits)

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Return the int64 value of each hash, ABSENT where it is not in the table."""
        found = np.empty(len(hashes), np.int64)
        for start in range(0, len(hashes), HASHES_PER_CHUNK):
            chunk = slice(start, start + HASHES_PER_CHUNK)
            found[chunk] = self._find_chunk(hashes[chunk])
        return found

    def _find_chunk(self, hashes: np.ndarray) -> np.ndarray:
        places = self.firsts[_home(hashes, len(self.firsts), self.bits)].astype(np.int64)
        before = np.flatnonzero(self.keys[places] < hashes)
        sought, at = hashes[before], places[before]
        while len(before):
            at += 1
            places[before] = at
            goes_on = np.flatnonzero(self.keys[at] < sought)
            before, sought, at = before[goes_on], sought[goes_on], at[goes_on]
        return np.where(self.keys[places] == hashes, self.values[places], np.uint32(ABSENT))

    def save(self, scratch: Scratch, name: str) -> None:
        """Write the table to scratch files."""
        scratch.write_array(f"{name}.keys", self.keys)
        scratch.write_array(f"{name}.values", self.values)
        scratch.write_array(f"{name}.firsts", self.firsts)

    @classmethod
    def load(cls, scratch: Scratch, name: str, bits: int) -> "Table":
        """Map the table from scratch files."""
        keys, values = scratch.map_shared(f"{name}.keys", "<u8"), scratch.map_shared(f"{name}.values", "<u4")
        return cls(keys, values, scratch.map_shared(f"{name}.firsts", "<u4"), bits)


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
