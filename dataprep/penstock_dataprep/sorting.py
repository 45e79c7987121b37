"""Sort 64-bit words faster than by comparison: two radix passes over their high bits, then the few ties."""

import numpy as np

DIGIT_BITS = np.uint64(16)


def argsort_words(words: np.ndarray) -> np.ndarray:
    """Return an int64 order that sorts a uint64 array; the order of equal words is unspecified but reproducible.

    numpy's stable sort of 16-bit integers is a linear-time radix sort. The words are hashes, so their 32 highest
    bits below the common prefix tell nearly all apart; runs that they leave out of order are sorted by comparison.
    """
    if len(words) < 2:
        return np.arange(len(words))
    low = words.min()
    spread = int(words.max() - low)
    prefix = np.uint64(64 - max(32, spread.bit_length()))
    high = (((words - low) << prefix) >> np.uint64(32)).astype(np.uint32)
    order = np.argsort(high.astype(np.uint16), kind="stable")
    order = order[np.argsort((high >> DIGIT_BITS).astype(np.uint16)[order], kind="stable")]
    ordered = words[order]
    falls = np.flatnonzero(ordered[1:] < ordered[:-1])
    if len(falls):
        _sort_runs(order, ordered, high[order], falls)
    return order


def _sort_runs(order: np.ndarray, ordered: np.ndarray, high: np.ndarray, falls: np.ndarray) -> None:
    """Sort, in place, each run of equal `high` words in which `ordered` falls."""
    starts = np.searchsorted(high, high[falls], side="left")
    ends = np.searchsorted(high, high[falls], side="right")
    inside = np.zeros(len(order) + 1, np.int64)
    np.add.at(inside, starts, 1)
    np.add.at(inside, ends, -1)
    members = np.flatnonzero(np.cumsum(inside)[:-1])
    # Runs follow each other in ascending order, so sorting all members at once keeps each within its run.
    order[members] = order[members][np.argsort(ordered[members], kind="stable")]
