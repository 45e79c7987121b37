"""Sketch the features of a shard, and merge sketches to the statistics of a dataset (see penstock_shared.sketches)."""

import functools
import heapq
from collections import Counter
from collections.abc import Iterable

import numpy as np

from penstock_dataprep.records.blocks import Values
from penstock_dataprep.statistics.distinct import count_registers, estimate, pack, unpack
from penstock_dataprep.statistics.histogram import Histogram, float_of_order, ordered_floats
from penstock_shared.features import Feature, Statistics
from penstock_shared.sketches import FeatureSketch, HistogramSketch
from penstock_shared.tokens import FIRST_OOV_ID, NULL_ID, first_token_id

BUCKETS = 256
TOP_VALUES = 20
MEAN_DIGITS = 9
QUANTILES = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}


def sketch_feature(feature: Feature, values: Values, rows: int, oov_buckets: int | None) -> FeatureSketch:
    """Sketch a feature of one shard; `oov_buckets` is of its vocabulary, None for a number."""
    numbers = values.numbers if values.present is None else values.numbers[values.present]
    nulls = 0 if values.present is None else rows - len(numbers)
    numbers = numbers.reshape(-1)  # of vectors
    longest = None if values.lengths is None else int(values.lengths.max(initial=0))
    if oov_buckets is not None:
        return _sketch_ids(numbers, rows, longest, oov_buckets)
    is_float = feature.dtype == "float32"
    found, counts = _distinct_patterns(numbers) if numbers.itemsize <= 2 else (numbers, None)
    exact = ordered_floats(found) if is_float else found.astype(np.int64)
    histogram = Histogram.of(exact, BUCKETS, counts)
    is_exact = histogram.shift == 0
    back = float_of_order if is_float else int
    plain = float if is_float else int
    return FeatureSketch(
        rows=rows,
        nulls=nulls,
        values=len(numbers),
        smallest=plain(found.min()) if len(numbers) else None,
        largest=plain(found.max()) if len(numbers) else None,
        total=_total(numbers, is_float),
        longest=longest,
        distinct=pack(count_registers(histogram.buckets if is_exact else exact)),
        top=_top(((back(int(b)), int(c)) for b, c in zip(histogram.buckets, histogram.counts, strict=True)))
        if is_exact
        else (),
        histogram=_to_sketch(histogram),
    )


def _distinct_patterns(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (the numbers that differ in their bits, how often each occurs) of numbers of one or two bytes."""
    unsigned = np.dtype(f"u{numbers.itemsize}")
    counts = np.bincount(np.ascontiguousarray(numbers).view(unsigned))
    found = np.flatnonzero(counts)
    return found.astype(unsigned).view(numbers.dtype), counts[found]


def _sketch_ids(ids: np.ndarray, rows: int, longest: int | None, oov_buckets: int) -> FeatureSketch:
    counts = np.bincount(ids)
    known = np.flatnonzero(counts > 0)  # a mask is far faster to search than numbers
    nulls = int(counts[NULL_ID]) if len(counts) > NULL_ID else 0
    held = counts[known]
    least = np.partition(held, -TOP_VALUES)[-TOP_VALUES] if len(known) > TOP_VALUES else 1
    is_common = held >= least
    return FeatureSketch(
        rows=rows,
        nulls=nulls,
        values=len(ids) - nulls,
        oov=int(counts[FIRST_OOV_ID : first_token_id(oov_buckets)].sum()),
        longest=longest,
        distinct=pack(count_registers(known[known != NULL_ID])),
        top=_top(zip(known[is_common].tolist(), held[is_common].tolist(), strict=True)),
    )


def merge_sketches(sketches: list[FeatureSketch]) -> FeatureSketch:
    """Return the sketch of all the rows of some sketches."""
    top: Counter[int | float] = Counter()
    for sketch in sketches:
        top.update(dict(sketch.top))
    histograms = [_of_sketch(sketch.histogram) for sketch in sketches if sketch.histogram is not None]
    registers = [unpack(sketch.distinct) for sketch in sketches]
    return FeatureSketch(
        rows=sum(sketch.rows for sketch in sketches),
        nulls=sum(sketch.nulls for sketch in sketches),
        values=sum(sketch.values for sketch in sketches),
        oov=_sum_known([sketch.oov for sketch in sketches]),
        smallest=min((sketch.smallest for sketch in sketches if sketch.smallest is not None), default=None),
        largest=max((sketch.largest for sketch in sketches if sketch.largest is not None), default=None),
        total=sum(sketch.total for sketch in sketches),
        longest=max((sketch.longest for sketch in sketches if sketch.longest is not None), default=None),
        distinct=pack(np.maximum.reduce(registers) if registers else count_registers(np.zeros(0, np.int64))),
        top=_top(top.items()),
        histogram=_to_sketch(functools.reduce(Histogram.merge, histograms)) if histograms else None,
    )


def statistics(feature: Feature, sketch: FeatureSketch) -> Statistics:
    """Return what the manifest records of a feature."""
    is_number = feature.vocabulary is None and sketch.values > 0
    back = float_of_order if feature.dtype == "float32" else int
    quantiles = None
    if is_number and sketch.histogram is not None:
        histogram = _of_sketch(sketch.histogram)
        # A bucket's middle may lie past the extremes, which are known exactly.
        quantiles = {
            name: min(max(back(histogram.quantile(share)), sketch.smallest or 0), sketch.largest or 0)
            for name, share in QUANTILES.items()
        }
    return Statistics(
        rows=sketch.rows,
        nulls=sketch.nulls,
        values=sketch.values,
        oov=None if feature.vocabulary is None else sketch.oov or 0,
        smallest=sketch.smallest,
        largest=sketch.largest,
        mean=float(f"{sketch.total / sketch.values:.{MEAN_DIGITS}g}") if is_number else None,
        longest=None if feature.lengths is None else sketch.longest or 0,
        distinct=estimate(unpack(sketch.distinct)),
        quantiles=quantiles,
    )


def _total(numbers: np.ndarray, is_float: bool) -> int | float:
    if is_float:
        return float(numbers.astype(np.float64).sum())
    largest = max(abs(int(numbers.min(initial=0))), abs(int(numbers.max(initial=0))))
    if largest * len(numbers) < 2**63:
        return int(numbers.sum(dtype=np.int64))
    # Integers are summed exactly; where a sum of int64 values may be past int64, their halves are summed apart.
    words = numbers.astype(np.int64)
    return (int((words >> 32).sum()) << 32) + int((words & (2**32 - 1)).sum())


def _top(counted: Iterable[tuple[int | float, int]]) -> tuple[tuple[int | float, int], ...]:
    return tuple(heapq.nsmallest(TOP_VALUES, counted, key=lambda pair: (-pair[1], pair[0])))


def _sum_known(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _to_sketch(histogram: Histogram) -> HistogramSketch:
    return HistogramSketch(
        shift=histogram.shift, buckets=tuple(histogram.buckets.tolist()), counts=tuple(histogram.counts.tolist())
    )


def _of_sketch(sketch: HistogramSketch) -> Histogram:
    return Histogram(BUCKETS, sketch.shift, np.array(sketch.buckets, np.int64), np.array(sketch.counts, np.int64))
