"""Hold facts to merging in any order to the same whole, and storages to exactness."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.records.blocks import decode_numbers, encode_numbers
from penstock_dataprep.rows.validate import validate
from penstock_dataprep.sources import SourceBatch
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.statistics import facts
from penstock_dataprep.statistics.facts import Facts, FeatureFacts
from penstock_dataprep.statistics.histogram import Histogram

INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.one_of(
    st.lists(INT64, max_size=40),
    st.lists(st.integers(1_500_000_000, 1_500_000_500), max_size=80),
    st.lists(st.integers(-(2**40), 2**40), max_size=40),
)
FEW_BUCKETS = 16


@pytest.fixture(autouse=True)
def few_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "TIME_BUCKETS", FEW_BUCKETS)


def reference_histogram(times: list[int]) -> tuple[int, dict[int, int]]:
    """Return (the smallest shift that leaves at most FEW_BUCKETS buckets, counts by bucket), in plain Python."""
    shift = 0
    while len({time >> shift for time in times}) > FEW_BUCKETS:
        shift += 1
    counts: dict[int, int] = {}
    for time in times:
        counts[time >> shift] = counts.get(time >> shift, 0) + 1
    return shift, dict(sorted(counts.items()))


def plain(histogram: Histogram) -> tuple[int, dict[int, int]]:
    return histogram.shift, dict(zip(histogram.buckets.tolist(), histogram.counts.tolist(), strict=True))


def histogram(times: list[int]) -> Histogram:
    return Histogram.of(np.array(times, np.int64), FEW_BUCKETS)


@given(TIMES)
def test_a_histogram_is_its_definition(times: list[int]) -> None:
    found = plain(histogram(times))
    assert found == reference_histogram(times)
    assert list(found[1]) == sorted(found[1])


@given(TIMES, TIMES, TIMES)
def test_histograms_merge_in_any_order(a: list[int], b: list[int], c: list[int]) -> None:
    whole = reference_histogram(a + b + c)
    assert plain(histogram(a).merge(histogram(b)).merge(histogram(c))) == whole
    assert plain(histogram(c).merge(histogram(b).merge(histogram(a)))) == whole


def test_wide_times_are_counted_in_bounded_memory() -> None:
    times = np.random.default_rng(1).integers(-(2**62), 2**62, 300_000)
    found = Histogram.of(times, 1 << 16)
    assert (1 << 15) < len(found.buckets) <= 1 << 16
    assert found.counts.sum() == len(times)
    np.testing.assert_array_equal(np.unique(times >> found.shift), found.buckets)
    assert len(np.unique(times >> (found.shift - 1))) > 1 << 16


def target(dtype: str, **rules: Any) -> Target:
    held = {
        "name": "x",
        "source": "x",
        "role": "feature",
        "is_list": False,
        "vocabulary": None,
        "null": "keep",
        "range": None,
    }
    return Target(dtype=dtype, **{**held, **rules})


def measured(values: list[Any], held: Target) -> FeatureFacts:
    return FeatureFacts.of(pa.array(values, held.arrow_type), held)


@pytest.mark.parametrize(
    ("values", "storage"),
    [
        # (float values, the narrowest storage that gives each of them back)
        ([], "u8"),
        ([0.0, 255.0], "u8"),
        ([256.0], "f16"),
        ([0.5, 1.0, 5.0], "f16"),
        ([-1.0], "f16"),
        ([-0.0], "f16"),
        ([65504.0], "f16"),
        ([65505.0], "u16"),
        ([65536.0], "bf16"),
        ([65537.0], "u24"),
        ([2.0**24 - 1], "u24"),
        ([2.0**24], "bf16"),
        ([2.0**24 + 2], "f32"),
        ([1e30], "f32"),
        ([2.0**100, 1.5], "bf16"),
        ([0.1], "f32"),
        ([6e-8], "f32"),
        ([2.0**-24], "f16"),
        ([2.0**-24, 300.5], "f16"),
    ],
)
def test_float_storages(values: list[float], storage: str) -> None:
    assert measured(values, target("float32")).storage(target("float32")) == storage


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20), st.integers(0, 20))
def test_float_storages_are_exact_however_the_rows_are_cut(values: list[float], cut: int) -> None:
    held = target("float32")
    whole = measured(values, held)
    merged = measured(values[:cut], held).merge(measured(values[cut:], held))
    assert merged.storage(held) == whole.storage(held)
    numbers = np.array(values, np.float32)
    back = decode_numbers(encode_numbers(numbers, whole.storage(held)), whole.storage(held)).astype(np.float32)
    assert back.tobytes() == numbers.tobytes()


@pytest.mark.parametrize(
    ("values", "storage"),
    [
        ([], "u8"),
        ([0, 255], "u8"),
        ([256], "u16"),
        ([65536], "u24"),
        ([2**24], "u32"),
        ([2**32], "i64"),
        ([-1], "i64"),
        ([2**63 - 1, -(2**63)], "i64"),
    ],
)
def test_integer_storages(values: list[int], storage: str) -> None:
    assert measured(values, target("int64")).storage(target("int64")) == storage


OPTIONAL_INTS = st.lists(st.one_of(st.none(), INT64), max_size=12)


@given(OPTIONAL_INTS, OPTIONAL_INTS, OPTIONAL_INTS)
def test_feature_facts_merge_in_any_order(a: list, b: list, c: list) -> None:
    held = target("int64")
    parts = [measured(values, held) for values in (a, b, c)]
    whole = measured(a + b + c, held)
    assert parts[0].merge(parts[1]).merge(parts[2]) == whole
    assert parts[2].merge(parts[0].merge(parts[1])) == whole
    assert FeatureFacts().merge(whole) == whole
    numbers = [value for value in a + b + c if value is not None]
    assert (whole.rows, whole.values, whole.nulls) == (len(a + b + c), len(numbers), len(a + b + c) - len(numbers))
    assert (whole.smallest, whole.largest) == (min(numbers, default=None), max(numbers, default=None))


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=6), max_size=6), st.randoms())
def test_facts_of_batches_merge_in_any_order(batches: list[list[int | None]], random: Any) -> None:
    rules = (target("int64", null="reject", role="time", range=(-5, 5)),)
    parts, row = [], 0
    for values in batches:
        source = SourceBatch(
            "log",
            pa.RecordBatch.from_arrays([pa.array(values, pa.int64())], names=["x"]),
            np.arange(row, row + len(values)),
        )
        row += len(values)
        parts.append(Facts.of(*validate(source, rules), rules))
    whole, shuffled = Facts(), Facts()
    for part in parts:
        whole = whole.merge(part)
    random.shuffle(parts)
    for part in parts:
        shuffled = part.merge(shuffled)
    values = [value for batch in batches for value in batch]
    broken = [(place + 1, value) for place, value in enumerate(values) if value is None or abs(value) > 5]
    assert whole.rejected == shuffled.rejected
    assert (whole.read, whole.valid) == (len(values), len(values) - len(broken))
    assert whole.rejected["x null"] == values.count(None)
    assert [example[1] for example in whole.examples] == [place for place, _ in broken[:5]]
    assert whole.examples == shuffled.examples
    assert whole.features == shuffled.features
    assert (whole.times is None) == (shuffled.times is None) == (not batches)
    if whole.times and shuffled.times:
        assert plain(whole.times) == plain(shuffled.times)
