"""Order rows by a keyed hash of their content: a uniform permutation that any runner computes alike.

A row's place is a 64-bit hash of (seed, content). Its high 32 bits choose the shard, all 64 the position inside it.
Copies of one row share a place and so a shard; all but one of them move to places of their own inside it, hashed from
(place, copy number), so that copies are no neighbours. What order is left, between different rows of one place, is by
content. Nothing depends on where a row was read, so equal rows in any order give equal bytes.
"""

from collections.abc import Callable

import numpy as np

from penstock_dataprep.order.hashing import mix64
from penstock_dataprep.order.sorting import sort_words
from penstock_shared.layout import Column, scalar_row_bytes

SPREAD_SHARDS = 16
BLOCKS_PER_SPREAD_SHARD = 32
COPY_WORD = np.uint64(0xD1B54A32D192ED03)
TOP = np.uint64(32)
LOW_BITS = np.uint64(0xFFFFFFFF)

# Returns, for some rows by their numbers, arrays that together tell these rows apart.
Content = Callable[[np.ndarray], list[np.ndarray]]


def shard_count(
    rows: int, columns: tuple[Column, ...], values_per_row: float, shard_bytes: int, rows_per_block: int
) -> int:
    """Return the number of shards of a split: none above `shard_bytes`, and SPREAD_SHARDS once there are blocks enough.

    Several shards let several readers and hosts share even a dataset that would fit one. `values_per_row` is the mean
    number of list values, in bytes, that come on top of the fixed row.
    """
    if rows == 0:
        return 0
    by_size = -(-int(rows * (scalar_row_bytes(columns) + values_per_row)) // shard_bytes)
    by_blocks = rows // (rows_per_block * BLOCKS_PER_SPREAD_SHARD)
    return max(1, by_size, min(SPREAD_SHARDS, by_blocks))


def shard_of(places: np.ndarray, shards: int) -> np.ndarray:
    """Return the shard of each uint64 place, an int64 in [0, shards)."""
    return (((places >> TOP) * np.uint64(shards)) >> TOP).astype(np.int64)


def first_places(shards: int) -> np.ndarray:
    """Return the lowest uint64 place of each shard."""
    return np.array([_first_top(shard, shards) << 32 for shard in range(shards)], np.uint64)


def _first_top(shard: int, shards: int) -> int:
    """Return the lowest high half of the places of a shard."""
    return -(-(shard << 32) // shards)


def sort_rows(places: np.ndarray, content: Content) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows by place and then content, mask in that order of the rows equal to the one before)."""
    rows, ordered = sort_words(places)
    is_tie = np.append(False, ordered[1:] == ordered[:-1])
    is_copy = np.zeros(len(rows), bool)
    if not is_tie.any():
        return rows, is_copy
    tied = np.flatnonzero(is_tie | np.append(is_tie[1:], False))
    arrays = content(rows[tied])
    within = np.lexsort([*reversed(arrays), ordered[tied]])
    rows[tied] = rows[tied][within]
    same = is_tie[tied]
    for array in arrays:
        held = array[within]
        same = same & np.append(False, held[1:] == held[:-1])
    is_copy[tied] = same
    return rows, is_copy


def move_copies(ordered: np.ndarray, is_copy: np.ndarray, shard: int, shards: int) -> np.ndarray:
    """Return the places with each copy's replaced by one of its own in the same shard."""
    since = np.arange(len(ordered))
    copy_number = since - np.maximum.accumulate(np.where(is_copy, 0, since))
    at = np.flatnonzero(is_copy)
    words = ordered[at] + COPY_WORD * copy_number[at].astype(np.uint64)
    mix64(words)
    low = _first_top(shard, shards)
    width = _first_top(shard + 1, shards) - low
    top = np.uint64(low) + (((words >> TOP) * np.uint64(width)) >> TOP)
    moved = ordered.copy()
    moved[at] = (top << TOP) | (words & LOW_BITS)
    return moved
