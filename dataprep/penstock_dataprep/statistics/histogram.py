"""Count integers in power-of-two buckets that any order of merging settles alike."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import PlainSerializer, PlainValidator

# Values are counted in about as many buckets as may be left, and in FINER_BITS finer ones while too few are found.
FINER_BITS = 4
MOST_COUNTED = 1 << 20
FLOAT32_SIGN = np.int64(1 << 31)

# An array that JSON holds as a list of integers.
Int64Array = Annotated[
    np.ndarray,
    PlainValidator(lambda numbers: np.asarray(numbers, np.int64)),
    PlainSerializer(lambda numbers: numbers.tolist()),
]


@dataclass(frozen=True)
class Histogram:
    """Count integers in buckets 2^shift wide: `buckets` int64, ascending, holds value >> shift; `counts` int64.

    The shift is the smallest one that leaves at most `limit` buckets, which depends on the set of values alone:
    merging in any order gives the same histogram, and one with shift 0 is exact.
    """

    limit: int
    shift: int
    buckets: Int64Array
    counts: Int64Array

    @classmethod
    def of(cls, values: np.ndarray, limit: int, weights: np.ndarray | None = None) -> "Histogram":
        """Count an int64 array, each value `weights` times."""
        if len(values) == 0:
            return cls(limit, 0, np.zeros(0, np.int64), np.zeros(0, np.int64))
        low, high = int(values.min()), int(values.max())
        shift = max(0, (high - low).bit_length() - limit.bit_length())
        while True:
            first = low >> shift
            places = (values >> shift) - first
            counts = np.bincount(places, weights).astype(np.int64, copy=False)
            buckets = np.flatnonzero(counts)
            if shift == 0 or len(buckets) > limit:
                return cls(limit, shift, buckets + first, counts[buckets])._settled()
            # So few buckets that a smaller shift might do: perhaps each holds one value.
            held = np.empty(len(counts), np.int64)
            held[places] = values
            if np.array_equal(held[places], values):
                return cls(limit, 0, held[buckets], counts[buckets])
            if (high - low) >> shift >= MOST_COUNTED:
                if weights is None:
                    return cls(limit, 0, *np.unique(values, return_counts=True))._settled()
                order = np.argsort(values)
                return cls(limit, 0, values[order], weights[order])._settled()
            shift = max(0, shift - FINER_BITS)

    def merge(self, other: "Histogram") -> "Histogram":
        """Return the histogram of both sets of values."""
        shift = max(self.shift, other.shift)
        buckets = np.concatenate([self.buckets >> (shift - self.shift), other.buckets >> (shift - other.shift)])
        counts = np.concatenate([self.counts, other.counts])
        order = np.argsort(buckets, kind="stable")
        return Histogram(self.limit, shift, buckets[order], counts[order])._settled()

    def quantile(self, share: float) -> int:
        """Return the middle of the bucket in which `share` of the values, in ascending order, is reached."""
        reached = np.cumsum(self.counts)
        at = int(np.searchsorted(reached, share * reached[-1], side="left"))
        low = int(self.buckets[min(at, len(self.buckets) - 1)]) << self.shift
        return low + ((1 << self.shift) - 1) // 2

    def _settled(self) -> "Histogram":
        """Return this histogram, whose buckets ascend but may repeat, with distinct buckets and its own shift."""
        shift, buckets, counts = self.shift, self.buckets, self.counts
        while True:
            starts = np.flatnonzero(np.append(True, buckets[1:] != buckets[:-1])) if len(buckets) else np.zeros(0, int)
            buckets, counts = buckets[starts], np.add.reduceat(counts, starts) if len(starts) else counts
            if len(buckets) <= self.limit:
                return Histogram(self.limit, shift, buckets, counts)
            shift, buckets = shift + 1, buckets >> 1


def ordered_floats(numbers: np.ndarray) -> np.ndarray:
    """Return int64 that are in the same order as float32 numbers; equal shares of bits are equal ratios."""
    bits = numbers.astype(np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -FLOAT32_SIGN - bits, bits)


def float_of_order(place: int) -> float:
    """Return the float32 number whose place among all is `place`."""
    bits = -int(FLOAT32_SIGN) - place if place < 0 else place
    return float(np.array([bits], np.int64).astype(np.int32).view(np.float32)[0])
