"""Measure rows while they pass, in facts that merge in any order to the same whole."""

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PlainSerializer, PlainValidator

from penstock_dataprep.targets import Target
from penstock_shared.features import Statistics
from penstock_shared.layout import LengthStorage, Storage, narrowest_integer, narrowest_length
from penstock_shared.manifest import File

EXAMPLES_KEPT = 5
TIME_BUCKETS = 1 << 16
COUNTED_BITS = 20  # a batch's times are first counted in at most 2^20 buckets
MEAN_DIGITS = 9
# From narrow to wide; an integer storage serves a float feature whose every value is such an integer.
FLOAT_STORAGES: tuple[Storage, ...] = ("u8", "f16", "bf16", "u16", "u24", "f32")

# An array that a note can hold as a list of integers.
Int64Array = Annotated[
    np.ndarray,
    PlainValidator(lambda numbers: np.asarray(numbers, np.int64)),
    PlainSerializer(lambda numbers: numbers.tolist()),
]


@dataclass(frozen=True)
class TimeHistogram:
    """Count rows by time in buckets 2^shift wide: `buckets` int64, ascending, holds time >> shift; `counts` int64.

    The shift is the smallest one that leaves at most TIME_BUCKETS buckets, which depends on the set of times alone:
    merging in any order gives the same histogram, and one with shift 0 is exact.
    """

    shift: int
    buckets: Int64Array
    counts: Int64Array

    @classmethod
    def of(cls, times: np.ndarray) -> "TimeHistogram":
        """Count an int64 array of times."""
        if len(times) == 0:
            return cls(0, np.zeros(0, np.int64), np.zeros(0, np.int64))
        low, high = int(times.min()), int(times.max())
        shift = max(0, (high - low).bit_length() - COUNTED_BITS)
        first = low >> shift
        counts = np.bincount((times >> shift) - first)
        buckets = np.flatnonzero(counts)
        if shift == 0 or len(buckets) > TIME_BUCKETS:
            return cls(shift, buckets + first, counts[buckets])._settled()
        # So few buckets that a smaller shift might do: count the times themselves.
        return cls(0, *np.unique(times, return_counts=True))._settled()

    def merge(self, other: "TimeHistogram") -> "TimeHistogram":
        """Return the histogram of both sets of rows."""
        shift = max(self.shift, other.shift)
        buckets = np.concatenate([self.buckets >> (shift - self.shift), other.buckets >> (shift - other.shift)])
        order = np.argsort(buckets, kind="stable")
        return TimeHistogram(shift, buckets[order], np.concatenate([self.counts, other.counts])[order])._settled()

    def _settled(self) -> "TimeHistogram":
        """Return this histogram, whose buckets ascend but may repeat, with distinct buckets and its own shift."""
        shift, buckets, counts = self.shift, self.buckets, self.counts
        while True:
            starts = np.flatnonzero(np.append(True, buckets[1:] != buckets[:-1])) if len(buckets) else np.zeros(0, int)
            buckets, counts = buckets[starts], np.add.reduceat(counts, starts) if len(starts) else counts
            if len(buckets) <= TIME_BUCKETS:
                return TimeHistogram(shift, buckets, counts)
            shift, buckets = shift + 1, buckets >> 1


@dataclass
class FeatureFacts:
    """Hold the statistics of one feature; `storages` are the float storages that hold every value exactly."""

    rows: int = 0
    nulls: int = 0
    values: int = 0
    oov: int = 0
    smallest: int | float | None = None
    largest: int | float | None = None
    total: int | float = 0
    longest: int = 0
    storages: frozenset[str] = frozenset(FLOAT_STORAGES)

    @classmethod
    def of(cls, column: pa.Array, target: Target) -> "FeatureFacts":
        """Measure a validated column."""
        facts = cls(rows=len(column))
        values = column
        if target.is_list:
            lengths = pc.list_value_length(column)
            facts.longest = pc.max(lengths).as_py() or 0
            values = column.flatten()
        facts.nulls = values.null_count
        facts.values = len(values) - values.null_count
        if target.vocabulary is None and facts.values:
            facts._measure_numbers(values.drop_null() if values.null_count else values)
        return facts

    def _measure_numbers(self, values: pa.Array) -> None:
        extremes = pc.min_max(values)
        self.smallest, self.largest = extremes["min"].as_py(), extremes["max"].as_py()
        # Integers are summed exactly; a sum of int64 values may itself be past int64.
        is_integer = pa.types.is_integer(values.type)
        wide = is_integer and max(abs(self.smallest), abs(self.largest)) * len(values) >= 2**63
        self.total = sum(values.to_pylist()) if wide else pc.sum(values).as_py()
        if not is_integer:
            self.storages = _exact_storages(values.to_numpy(zero_copy_only=False))

    def merge(self, other: "FeatureFacts") -> "FeatureFacts":
        """Return the facts of both sets of rows."""
        smallest = [held.smallest for held in (self, other) if held.smallest is not None]
        largest = [held.largest for held in (self, other) if held.largest is not None]
        return FeatureFacts(
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            values=self.values + other.values,
            oov=self.oov + other.oov,
            smallest=min(smallest, default=None),
            largest=max(largest, default=None),
            total=self.total + other.total,
            longest=max(self.longest, other.longest),
            storages=self.storages & other.storages,
        )

    def less(self, dropped: "FeatureFacts") -> "FeatureFacts":
        """Return the facts without rows that were dropped as copies of others: only counts and the sum shrink."""
        return replace(
            self,
            rows=self.rows - dropped.rows,
            nulls=self.nulls - dropped.nulls,
            values=self.values - dropped.values,
            oov=self.oov - dropped.oov,
            total=self.total - dropped.total,
        )

    def storage(self, target: Target) -> Storage:
        """Return the narrowest storage of a number feature."""
        if target.dtype == "float32":
            return next(storage for storage in FLOAT_STORAGES if storage in self.storages)
        return narrowest_integer(int(self.smallest or 0), int(self.largest or 0))

    def lengths(self, target: Target) -> LengthStorage | None:
        """Return the narrowest storage of a list feature's lengths, None for a scalar feature."""
        return narrowest_length(self.longest) if target.is_list else None

    def statistics(self, target: Target) -> Statistics:
        """Return the statistics as the manifest records them."""
        is_token = target.vocabulary is not None
        mean = None if is_token or not self.values else float(f"{self.total / self.values:.{MEAN_DIGITS}g}")
        return Statistics(
            rows=self.rows,
            nulls=self.nulls,
            values=self.values,
            oov=self.oov if is_token else None,
            smallest=self.smallest,
            largest=self.largest,
            mean=mean,
            longest=self.longest if target.is_list else None,
        )


def _exact_storages(numbers: np.ndarray) -> frozenset[str]:
    exact = {"f32"}
    with np.errstate(over="ignore"):
        if np.array_equal(numbers.astype(np.float16).astype(np.float32), numbers):
            exact.add("f16")
    if not (numbers.view(np.uint32) & 0xFFFF).any():
        exact.add("bf16")
    smallest, largest = float(numbers.min()), float(numbers.max())
    # -0.0 would come back as 0.0, so it is not exact in an integer storage.
    if smallest >= 0 and not np.signbit(numbers).any() and np.array_equal(np.rint(numbers), numbers):
        exact.update(storage for storage, bits in (("u8", 8), ("u16", 16), ("u24", 24)) if largest < 2**bits)
    return frozenset(exact)


@dataclass
class Facts:
    """Hold what is known of the rows read: accounts, examples of rejects, statistics, times.

    `tokens` is, by vocabulary, the sum over staged batches of their distinct tokens.
    `reject_files` are where the rejected rows were written.
    """

    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: tuple[tuple[str, int, str, str, str], ...] = ()
    features: dict[str, FeatureFacts] = field(default_factory=dict)
    times: TimeHistogram | None = None
    tokens: Counter[str] = field(default_factory=Counter)
    reject_files: tuple[File, ...] = ()

    @property
    def valid(self) -> int:
        """Return the number of rows that broke no rule."""
        return self.read - self.rejected.total()

    @classmethod
    def of(cls, valid: pa.RecordBatch, rejects: pa.RecordBatch, targets: tuple[Target, ...]) -> "Facts":
        """Measure one validated batch."""
        time = next((target.name for target in targets if target.role == "time"), None)
        times = None if time is None else valid.column(time).fill_null(0).to_numpy(zero_copy_only=False)
        first = rejects.slice(0, EXAMPLES_KEPT).to_pylist()
        return cls(
            read=valid.num_rows + rejects.num_rows,
            rejected=Counter(
                f"{column} {reason}" if column else reason
                for column, reason in zip(rejects["column"].to_pylist(), rejects["reason"].to_pylist(), strict=True)
            ),
            examples=tuple((row["file"], row["row"], row["column"], row["reason"], row["value"]) for row in first),
            features={target.name: FeatureFacts.of(valid.column(target.name), target) for target in targets},
            times=None if times is None else TimeHistogram.of(times),
        )

    def merge(self, other: "Facts") -> "Facts":
        """Return the facts of both sets of rows."""
        names = self.features.keys() | other.features.keys()
        nothing = FeatureFacts()
        times = [held.times for held in (self, other) if held.times is not None]
        return Facts(
            read=self.read + other.read,
            rejected=self.rejected + other.rejected,
            examples=tuple(sorted(self.examples + other.examples, key=lambda example: example[:2])[:EXAMPLES_KEPT]),
            features={
                name: self.features.get(name, nothing).merge(other.features.get(name, nothing)) for name in names
            },
            times=None if not times else times[0] if len(times) == 1 else times[0].merge(times[1]),
            tokens=self.tokens + other.tokens,
            reject_files=tuple(sorted(self.reject_files + other.reject_files, key=lambda file: file.path)),
        )


def share(part: float, whole: float) -> float:
    """Return part / whole rounded for the manifest, 0 for an empty whole."""
    return 0.0 if whole == 0 else math.floor(part / whole * 1e9 + 0.5) / 1e9
