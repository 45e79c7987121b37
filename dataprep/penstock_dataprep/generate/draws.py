"""Draw random numbers as pure functions of (key, index), so that any row can be made without the ones before it."""

import numpy as np

from penstock_dataprep.order.hashing import mix64
from penstock_shared.tokens import MASK64, hash_token

WEYL_STEP = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: neighbouring indices land far apart (Steele et al., SplitMix)
RANK_BITS = 53
BYTE_STD = 255 / np.sqrt(12)
LANES_STD = 65535 * np.sqrt(4 / 12)
MASK63 = np.uint64(2**63 - 1)


def words(seed: int, purpose: str, index: np.ndarray) -> np.ndarray:
    """Return a random uint64 for each index; every purpose has its own independent stream."""
    key = hash_token(f"{seed}/{purpose}")
    drawn = index.astype(np.uint64) * np.uint64(WEYL_STEP) + np.uint64(key)
    mix64(drawn)
    return drawn


def uniform(drawn: np.ndarray) -> np.ndarray:
    """Return float64 numbers in [0, 1) from the high 53 bits of each word; the low 11 bits stay free for `pick`."""
    return (drawn >> np.uint64(64 - RANK_BITS)) * 2.0**-RANK_BITS


def pick(drawn: np.ndarray, choices: int, low_bit: int = 0, bits: int = 11) -> np.ndarray:
    """Return integers in [0, choices) from `bits` bits of each word, equally likely up to choices / 2^bits."""
    field = (drawn >> np.uint64(low_bit)) & np.uint64(2**bits - 1)
    return ((field * np.uint64(choices)) >> np.uint64(bits)).astype(np.int64)


def normal(drawn: np.ndarray) -> np.ndarray:
    """Return float32 numbers of mean 0 and variance 1, near normal: the sum of each word's four 16-bit lanes."""
    lanes = drawn.view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int32)
    return ((lanes - 2 * 65535) / LANES_STD).astype(np.float32)


def directions(drawn: np.ndarray) -> np.ndarray:
    """Return float32 vectors [n, 8] of independent coordinates of mean 0 and variance 1: each word's eight bytes."""
    return ((drawn.view(np.uint8).reshape(-1, 8) - np.float32(127.5)) / np.float32(BYTE_STD)).astype(np.float32)


def sparse_ids(seed: int, purpose: str, rank: np.ndarray) -> np.ndarray:
    """Return a distinct int64 in [0, 2^63) for each rank in [0, 2^63): steps that are each a bijection on 63 bits."""
    identity = (rank.astype(np.uint64) + np.uint64(hash_token(f"{seed}/{purpose}") & (MASK64 >> 1))) & MASK63
    for multiplier in (0xD6E8FEB86659FD93, 0xA0761D6478BD642F):
        identity = (identity * np.uint64(multiplier)) & MASK63
        identity ^= identity >> np.uint64(32)
    return ((identity * np.uint64(WEYL_STEP)) & MASK63).view(np.int64)


def zipf_rank(position: np.ndarray, size: np.ndarray, exponent: float, offset: np.ndarray) -> np.ndarray:
    """Return ranks in [0, size) with probability about proportional to (rank + offset) ** -exponent.

    `position` is uniform in [0, 1). The distribution is Zipf-Mandelbrot's, whose continuous form has an inverse in
    closed form: no table, so a population of any size costs nothing.
    """
    end = size + offset
    if exponent == 1:
        spot = offset * np.exp(position * np.log(end / offset))
    else:
        power = 1 - exponent
        first = offset**power
        spot = (first + position * (end**power - first)) ** (1 / power)
    return np.minimum((spot - offset).astype(np.int64), size - 1)
