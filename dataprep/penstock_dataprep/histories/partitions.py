"""Cut events into partitions by the hash of their key."""

import numpy as np

from penstock_shared.tails import MOST_PARTITION_BITS

# Past 2^MOST_PARTITION_BITS partitions they grow instead, so that a batch's pieces do not become too small to move.
EVENTS_PER_PARTITION = 1 << 18


def partition_bits(events: int) -> int:
    """Return the number of leading hash bits that cut events into partitions by their key."""
    return min(MOST_PARTITION_BITS, max(0, (-(-events // EVENTS_PER_PARTITION) - 1).bit_length()))


def partition_of(keys: np.ndarray, bits: int) -> np.ndarray:
    """Return the uint16 partition of each uint64 hash of a key."""
    # Two shifts, because one by 64 is undefined.
    return ((keys >> np.uint64(1)) >> np.uint64(63 - bits)).astype(np.uint16)
