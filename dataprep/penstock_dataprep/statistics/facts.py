"""Measure rows while they pass, in facts that merge in any order to the same whole."""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.spec.targets import Target
from penstock_dataprep.statistics.histogram import Histogram
from penstock_shared.features import Statistics
from penstock_shared.files import File
from penstock_shared.layout import LengthStorage, Storage, narrowest_integer, narrowest_length

EXAMPLES_KEPT = 5
TIME_BUCKETS = 1 << 16
FLOAT16_CUTS = np.uint32((1 << 13) - 1)  # the low bits of a float32's fraction
# From narrow to wide; an integer storage serves a float feature whose every value is such an integer.
FLOAT_STORAGES: tuple[Storage, ...] = ("u8", "f16", "bf16", "u16", "u24", "f32")


@dataclass
class FeatureFacts:
    """Hold what decides how a feature is stored; `storages` are the float storages that hold every value exactly."""

    rows: int = 0
    nulls: int = 0
    values: int = 0
    smallest: int | float | None = None
    largest: int | float | None = None
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
        elif target.length is not None:
            values = column.flatten()
        facts.nulls = values.null_count
        facts.values = len(values) - values.null_count
        if target.vocabulary is None and facts.values:
            facts._measure_numbers(values.drop_null() if values.null_count else values)
        return facts

    def _measure_numbers(self, values: pa.Array) -> None:
        extremes = pc.min_max(values)
        self.smallest, self.largest = extremes["min"].as_py(), extremes["max"].as_py()
        if pa.types.is_floating(values.type):
            self.storages = _exact_storages(values.to_numpy(zero_copy_only=False))

    def merge(self, other: "FeatureFacts") -> "FeatureFacts":
        """Return the facts of both sets of rows."""
        smallest = [held.smallest for held in (self, other) if held.smallest is not None]
        largest = [held.largest for held in (self, other) if held.largest is not None]
        return FeatureFacts(
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            values=self.values + other.values,
            smallest=min(smallest, default=None),
            largest=max(largest, default=None),
            longest=max(self.longest, other.longest),
            storages=self.storages & other.storages,
        )

    def extent(self) -> Statistics:
        """Return what is known before the rows are written, copies not yet dropped."""
        return Statistics(
            rows=self.rows, nulls=self.nulls, values=self.values, smallest=self.smallest, largest=self.largest
        )

    def storage(self, target: Target) -> Storage:
        """Return the narrowest storage of a number feature."""
        if target.dtype == "float32":
            return next(storage for storage in FLOAT_STORAGES if storage in self.storages)
        return narrowest_integer(int(self.smallest or 0), int(self.largest or 0))

    def lengths(self, target: Target) -> LengthStorage | None:
        """Return the narrowest storage of a list feature's lengths, None for a scalar feature."""
        return narrowest_length(self.longest) if target.is_list else None


def _exact_storages(numbers: np.ndarray) -> frozenset[str]:
    exact = {"f32"}
    bits = numbers.view(np.uint32)
    # What float16 has no bits for tells most floats apart before they are converted, which takes far longer.
    if not (bits & FLOAT16_CUTS).any():
        with np.errstate(over="ignore"):
            if np.array_equal(numbers.astype(np.float16).astype(np.float32), numbers):
                exact.add("f16")
    if not (bits & 0xFFFF).any():
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
    `reject_files` are where the rejected rows were written. `copies` counts rows dropped as copies of others before any
    row was dealt to a shard, `late` those left out because their history is no longer known.
    """

    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: tuple[tuple[str, int, str, str, str], ...] = ()
    features: dict[str, FeatureFacts] = field(default_factory=dict)
    times: Histogram | None = None
    tokens: Counter[str] = field(default_factory=Counter)
    reject_files: tuple[File, ...] = ()
    copies: int = 0
    late: int = 0

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
            rejected=reasons(rejects),
            examples=tuple((row["file"], row["row"], row["column"], row["reason"], row["value"]) for row in first),
            features={target.name: FeatureFacts.of(valid.column(target.name), target) for target in targets},
            times=None if times is None else Histogram.of(times, TIME_BUCKETS),
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
            copies=self.copies + other.copies,
            late=self.late + other.late,
        )


def reasons(rejects: pa.RecordBatch | pa.Table) -> Counter[str]:
    """Return the rejected rows by reason, which names the column where one is at fault."""
    found = pa.table({name: rejects[name] for name in ("column", "reason")}).group_by(["column", "reason"])
    counted = found.aggregate([([], "count_all")]).to_pylist()
    names = (f"{row['column']} {row['reason']}" if row["column"] else row["reason"] for row in counted)
    return Counter(dict(zip(names, (row["count_all"] for row in counted), strict=True)))


def share(part: float, whole: float) -> float:
    """Return part / whole rounded for the manifest, 0 for an empty whole."""
    return 0.0 if whole == 0 else math.floor(part / whole * 1e9 + 0.5) / 1e9
