"""Hold sketches to the rows they speak of: alone, merged in any way, and as a histogram, a count and quantiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.records.blocks import Values
from penstock_dataprep.statistics.distinct import count_registers, estimate, pack, unpack
from penstock_dataprep.statistics.histogram import Histogram, float_of_order, ordered_floats
from penstock_dataprep.statistics.sketch import QUANTILES, merge_sketches, sketch_feature, statistics
from penstock_shared.features import Feature, Statistics

NOTHING = Statistics(rows=0, nulls=0, values=0)
INT = Feature(name="age", role="feature", dtype="int64", storage="i64", nullable=True, statistics=NOTHING)
FLOAT = Feature(name="price", role="feature", dtype="float32", storage="f32", statistics=NOTHING)
ID = Feature(name="item", role="item", dtype="int32", storage="u16", vocabulary="item", statistics=NOTHING)
OOV_BUCKETS = 2

integers = st.lists(st.tuples(st.integers(-(2**62), 2**62), st.booleans()), max_size=60)
floats = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=60)
ids = st.lists(st.integers(1, 300), max_size=60)


def of_integers(rows):
    numbers, present = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], bool)
    return sketch_feature(INT, Values(numbers, present=present), len(rows), None)


def of_floats(rows):
    return sketch_feature(FLOAT, Values(np.array(rows, np.float32)), len(rows), None)


def of_ids(rows):
    return sketch_feature(ID, Values(np.array(rows, np.uint16)), len(rows), OOV_BUCKETS)


@pytest.mark.parametrize(("sketch", "rows"), [(of_integers, integers), (of_floats, floats), (of_ids, ids)])
def test_merged_sketches_speak_of_all_rows(sketch, rows) -> None:
    @given(st.lists(rows, min_size=1, max_size=5), st.randoms(use_true_random=False))
    def check(parts, random) -> None:
        whole = sketch([row for part in parts for row in part])
        shuffled = list(parts)
        random.shuffle(shuffled)
        merged = merge_sketches([sketch(part) for part in shuffled])
        loose = {"total", "top"}
        assert merged.model_dump(exclude=loose) == whole.model_dump(exclude=loose)
        assert merged.total == pytest.approx(whole.total, rel=1e-6, abs=1e-6 * 2.0**128)

    check()


def test_what_a_sketch_counts() -> None:
    sketch = of_ids([1, 1, 2, 3, 7, 7, 7, 9])
    assert (sketch.rows, sketch.nulls, sketch.values, sketch.oov) == (8, 2, 6, 2)
    assert sketch.top[:2] == ((7, 3), (1, 2))
    assert statistics(ID, sketch).distinct == 4
    sketch = of_integers([(5, True), (2**62, False), (-3, True), (5, True)])
    assert (sketch.nulls, sketch.values, sketch.smallest, sketch.largest, sketch.total) == (1, 3, -3, 5, 7)
    assert sketch.top == ((5, 2), (-3, 1))


@pytest.mark.parametrize(("feature", "narrow", "wide"), [(FLOAT, "f2", "f4"), (INT, "u1", "i8"), (INT, "u2", "i8")])
@pytest.mark.parametrize("numbers", [0, 1, 40, 5000])
def test_numbers_of_few_bits_are_sketched_as_wider_ones(feature, narrow: str, wide: str, numbers: int) -> None:
    bits = np.random.default_rng(numbers).integers(0, 2**16, numbers).astype("u2")
    held = bits.view("f2")[np.isfinite(bits.view("f2"))] if narrow == "f2" else bits.astype(narrow)
    sketches = [sketch_feature(feature, Values(held.astype(dtype)), len(held), None) for dtype in (narrow, wide)]
    assert sketches[0] == sketches[1]


@given(floats)
def test_the_order_of_floats_is_the_order_of_their_places(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    places = ordered_floats(array)
    assert [float_of_order(int(place)) for place in places] == array.tolist()
    assert np.array_equal(np.sort(array), array[np.argsort(places, kind="stable")])


def test_quantiles_are_near_the_exact_ones() -> None:
    numbers = np.random.default_rng(3).lognormal(3, 1, 50_000).astype(np.float32)
    measured = statistics(FLOAT, of_floats(numbers.tolist()))
    assert measured.quantiles is not None
    for name, share in QUANTILES.items():
        assert measured.quantiles[name] == pytest.approx(np.quantile(numbers, share), rel=0.06)
    assert measured.mean == pytest.approx(numbers.mean(), rel=1e-4)


@given(st.lists(st.lists(st.integers(0, 2**40), max_size=300), min_size=1, max_size=4), st.integers(1, 50))
def test_histograms_merge_in_any_order_to_the_same(parts: list[list[int]], limit: int) -> None:
    whole = Histogram.of(np.array([value for part in parts for value in part], np.int64), limit)
    histograms = [Histogram.of(np.array(part, np.int64), limit) for part in parts]
    for order in (histograms, histograms[::-1]):
        merged = order[0]
        for other in order[1:]:
            merged = merged.merge(other)
        assert (merged.shift, merged.buckets.tolist(), merged.counts.tolist()) == (
            whole.shift,
            whole.buckets.tolist(),
            whole.counts.tolist(),
        )
    assert len(whole.buckets) <= limit
    assert whole.counts.sum() == sum(len(part) for part in parts)


@pytest.mark.parametrize("distinct", [0, 1, 10, 1_000, 10_000, 200_000])
def test_distinct_values_are_estimated(distinct: int) -> None:
    values = np.random.default_rng(distinct).integers(0, 2**62, distinct)
    registers = count_registers(np.concatenate([values, values]))
    assert estimate(registers) == pytest.approx(distinct, rel=0.05)
    assert np.array_equal(unpack(pack(registers)), registers)


def test_sums_of_large_integers_are_exact() -> None:
    values = [2**63 - 1] * 5 + [-(2**63)] * 3
    assert of_integers([(value, True) for value in values]).total == sum(values)


def test_statistics_are_told_by_kind() -> None:
    lists = Feature(name="x", role="feature", dtype="int64", storage="u8", lengths="u8", statistics=NOTHING)
    held = Values(np.array([1, 2, 3, 4], np.uint8), np.array([3, 0, 1], np.uint8))
    found = statistics(lists, sketch_feature(lists, held, 3, None))
    assert (found.rows, found.values, found.nulls, found.longest, found.mean) == (3, 4, 0, 3, 2.5)
    found = statistics(ID, of_ids([7, 1, 7]))
    assert (found.rows, found.values, found.nulls, found.oov, found.smallest, found.mean) == (3, 2, 1, 0, None, None)
    empty = statistics(INT, of_integers([(0, False)]))
    assert (empty.values, empty.smallest, empty.largest, empty.mean, empty.quantiles) == (0, None, None, None, None)
