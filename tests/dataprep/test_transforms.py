"""Hold each transform to its truth table, and what is measured of training rows to any order of them."""

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from penstock_dataprep.transforms import TRANSFORMS, Rule, TransformRule
from penstock_dataprep.transforms.bucketise import float_at, float_places
from penstock_shared.transforms import ids_made

RULES: TypeAdapter[Any] = TypeAdapter(TransformRule)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def rule_of(**settings: Any) -> Rule:
    return RULES.validate_python(settings)


def apply(rule: Rule, values: list[Any], dtype: pa.DataType, measured: list[Any] | None = None) -> list[Any]:
    measure = (
        None if measured is None else rule.measure(np.array(measured, np.int64 if dtype == pa.int64() else np.float32))
    )
    settings = rule.settle(measure)
    made = TRANSFORMS[settings.kind](settings, pa.array(values, dtype))
    expected = {"float32": pa.float32(), "int64": pa.int64(), "string": pa.string()}[rule.makes]
    if rule.makes_lists:
        assert made.type.value_type.value_type == expected
    else:
        assert made.type == expected
    return made.to_pylist()


@pytest.mark.parametrize(
    ("method", "train", "values", "expected"),
    [
        ("standard", [1, 2, 3, 6], [3, 1, None, 10], [0, -2 / math.sqrt(3.5), None, 7 / math.sqrt(3.5)]),
        ("standard", [4, 4], [4, 5], [0, 1]),  # a column that does not vary
        ("standard", [1e8, 1e8 + 8], [1e8], [-1]),  # where sums of float64 squares would cancel out
        ("min_max", [2, 6, 4], [2, 6, 3, 10, None], [0, 1, 0.25, 2, None]),
        ("min_max", [5], [5, 6], [0, 1]),
        ("log1p", None, [0, 1, None], [0, math.log(2), None]),
    ],
)
@pytest.mark.parametrize("dtype", [pa.float32(), pa.int64()])
def test_normalise(method: str, train: Any, values: list, expected: list, dtype: pa.DataType) -> None:
    whole = dtype == pa.int64()
    rule = rule_of(kind="normalise", method=method)
    found = apply(rule, [int(v) if whole and v is not None else v for v in values], dtype, train)
    assert [value is None for value in found] == [value is None for value in expected]
    assert [v for v in found if v is not None] == pytest.approx([v for v in expected if v is not None], rel=1e-6)


@given(st.lists(FLOATS, min_size=1, max_size=30), st.randoms(), st.integers(0, 30))
def test_measures_do_not_depend_on_the_order_of_rows(values: list[float], order: Any, cut: int) -> None:
    shuffled = list(values)
    order.shuffle(shuffled)
    for rule in (rule_of(kind="normalise"), rule_of(kind="bucketise", quantiles=4)):
        whole = rule.measure(np.array(values, np.float32))
        parts = [rule.measure(np.array(part, np.float32)) for part in (shuffled[:cut], shuffled[cut:])]
        assert rule.settle(parts[1].merge(parts[0])) == rule.settle(whole)


@pytest.mark.parametrize(
    ("boundaries", "values", "expected"),
    [
        ([0], [-1, 0, 1, None], [0, 1, 1, None]),
        ([-1.5, 2, 7], [-2, -1.5, 0, 2, 6.5, 7, 1e30], [0, 1, 1, 2, 2, 3, 3]),
    ],
)
def test_bucketise_between_boundaries(boundaries: list, values: list, expected: list) -> None:
    rule = rule_of(kind="bucketise", boundaries=tuple(map(float, boundaries)))
    assert apply(rule, values, pa.float32()) == expected
    assert ids_made(rule.settle(None)) == len(boundaries) + 1


@pytest.mark.parametrize(
    ("quantiles", "train", "boundaries"),
    [
        (4, [1, 2, 3, 4, 5, 6, 7, 8], (3.0, 5.0, 7.0)),
        (2, [0, 0, 0, 1], (1.0,)),
        (4, [0] * 90 + [1] * 10, (1.0,)),  # one value fills three buckets
        (3, [7], ()),
        (10, [-2, -1], (-1.0,)),
    ],
)
def test_bucketise_by_quantiles(quantiles: int, train: list, boundaries: tuple) -> None:
    rule = rule_of(kind="bucketise", quantiles=quantiles)
    for dtype in (np.int64, np.float32):
        assert rule.settle(rule.measure(np.array(train, dtype))).boundaries == boundaries


def test_quantiles_of_many_numbers_of_any_size_are_close() -> None:
    rng = np.random.default_rng(0)
    for numbers in (rng.lognormal(0, 5, 300_000), -rng.lognormal(0, 5, 300_000), rng.normal(0, 1, 300_000)):
        rule = rule_of(kind="bucketise", quantiles=20)
        settled = rule.settle(rule.measure(numbers.astype(np.float32)))
        ids = np.searchsorted(settled.boundaries, numbers.astype(np.float32).astype(np.float64), side="right")
        shares = np.bincount(ids, minlength=20) / len(numbers)
        assert np.abs(shares - 0.05).max() < 0.001


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=20))
def test_places_order_floats(values: list[float]) -> None:
    numbers = np.array(values)
    assert np.array_equal(np.sort(float_places(numbers)), float_places(np.sort(numbers)))
    assert np.array_equal(float_at(float_places(numbers)), numbers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Adventure|Children", ["Adventure", "Children"]),
        (" a | b|", ["a", "b"]),
        ("||", []),
        ("", []),
        ("one", ["one"]),
        ("é|É|é", ["é", "É", "é"]),
        (None, []),
    ],
)
def test_split(text: str | None, expected: list[str]) -> None:
    # Between others, so that a list that starts at the wrong place shows.
    assert apply(rule_of(kind="split"), ["x|y", text, "z", text], pa.string()) == [
        ["x", "y"],
        expected,
        ["z"],
        expected,
    ]


@pytest.mark.parametrize(
    ("settings", "text", "expected"),
    [
        ({}, "Toy Story (1995)", ["toy", "story", "1995"]),
        ({"lowercase": False}, "Toy Story", ["Toy", "Story"]),
        ({"n": 2}, "The Lord, of the Rings", ["the lord", "lord of", "of the", "the rings"]),
        ({"n": 3}, "Toy Story", ["toy story"]),  # shorter than a run
        ({"n": 2}, "Up", ["up"]),
        ({"n": 2}, " -- ", []),
        ({}, "L'été à Москва 東京", ["l", "été", "à", "москва", "東京"]),
        ({"of": "characters", "n": 3}, "Été!", ["été"]),
        ({"of": "characters", "n": 3}, "A-b ć", ["a b", " b ", "b ć"]),
        ({"of": "characters", "n": 2}, "東京塔", ["東京", "京塔"]),
        ({"of": "characters", "n": 5}, "ab", ["ab"]),
        ({"of": "characters", "n": 2}, "", []),
        ({}, None, []),
    ],
)
def test_ngrams(settings: dict[str, Any], text: str | None, expected: list[str]) -> None:
    rule = rule_of(kind="ngrams", **settings)
    assert apply(rule, ["xy", text, None, text], pa.string()) == [["xy"], expected, [], expected]


@given(st.lists(st.text(alphabet="ab é東-", max_size=12), min_size=1, max_size=6), st.integers(1, 4))
def test_ngrams_are_those_of_a_plain_loop(texts: list[str], n: int) -> None:
    def runs(items: Any) -> list:
        return [items[at : at + n] for at in range(max(len(items) - n + 1, min(len(items), 1)))]

    plain = [" ".join(text.replace("-", " ").split()) for text in texts]
    words = apply(rule_of(kind="ngrams", n=n), texts, pa.string())
    assert words == [[" ".join(run) for run in runs(text.split())] for text in plain]
    characters = apply(rule_of(kind="ngrams", of="characters", n=n), texts, pa.string())
    assert characters == [runs(text) for text in plain]


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), st.sampled_from(["s", "ms", "us"]))
def test_time_parts_are_those_of_the_calendar(moment: datetime, unit: str) -> None:
    since = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    value = since // {"s": 10**6, "ms": 10**3, "us": 1}[unit]
    parts = {part: getattr(moment, part) for part in ("minute", "hour", "day", "month", "year")}
    parts["weekday"] = moment.replace(tzinfo=timezone.utc).weekday()
    for part, expected in parts.items():
        rule = rule_of(kind="time_part", part=part, unit=unit)
        assert rule.domain is not None
        assert rule.domain[0] <= value <= rule.domain[1]
        assert apply(rule, [None, value], pa.int64()) == [None, expected]
        assert expected < (ids_made(rule.settle(None)) or 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "bucketise"}, "either boundaries or quantiles"),
        ({"kind": "bucketise", "boundaries": (1.0,), "quantiles": 3}, "either boundaries or quantiles"),
        ({"kind": "bucketise", "boundaries": (2.0, 1.0)}, "boundaries that ascend"),
        ({"kind": "bucketise", "boundaries": (1.0, 1.0)}, "boundaries that ascend"),
        ({"kind": "ngrams", "n": 0}, "greater than or equal to 1"),
        ({"kind": "split", "separator": ""}, "at least 1 character"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule_of(**settings)
