"""Encode and decode arrays of varints: seven bits to a byte, lowest first, the high bit while more follow."""

import numpy as np

from penstock_dataprep.records.ragged import groups, put

LONGEST_VARINT = 10


def varint(number: int) -> bytes:
    """Return the bytes of one varint."""
    sevens = []
    while number > 0x7F:
        sevens.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*sevens, number])


def varints(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (the bytes of all varints end to end, each one's size) of a uint64 array."""
    sizes = varint_sizes(numbers)
    ends = np.cumsum(sizes)
    content = np.empty(int(ends[-1]) if len(numbers) else 0, np.uint8)
    for size, chosen in groups(sizes):
        shifts = np.arange(0, 7 * size, 7, dtype=np.uint64)
        sevens = (numbers[chosen][:, None] >> shifts).astype(np.uint8) & 0x7F
        sevens[:, :-1] |= 0x80
        put(content, ends[chosen] - size, sevens)
    return content, sizes


def varint_sizes(numbers: np.ndarray) -> np.ndarray:
    """Return the bytes that each varint of a uint64 array takes."""
    limits = np.array([1 << (7 * size) for size in range(1, LONGEST_VARINT)], np.uint64)
    return np.searchsorted(limits, numbers.astype(np.uint64, copy=False), side="right") + 1


def read_varints(padded: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (int64 numbers, byte after each); what would run past its end stops there."""
    at = np.minimum(starts, ends)
    numbers = np.zeros(len(at), np.uint64)
    going = np.ones(len(at), bool)
    for place in range(LONGEST_VARINT):
        octets = padded[at]
        numbers |= np.where(going, (octets & 0x7F).astype(np.uint64) << np.uint64(7 * place), 0).astype(np.uint64)
        at = at + going
        going = going & (octets >= 0x80) & (at < ends)
        if not going.any():
            break
    return numbers.view(np.int64), at
