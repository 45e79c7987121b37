"""Hold the pure parts of a forecast to truth tables and to arithmetic done by hand."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import yaml
from logs import PLAIN_COLUMNS, spec_of

from penstock_dataprep.forecast.cost import cost
from penstock_dataprep.forecast.estimate import distinct_at_most, distinct_in, split_shares
from penstock_dataprep.forecast.locations import is_near, location_warnings
from penstock_dataprep.forecast.prices import ASSUMPTIONS, assume
from penstock_dataprep.forecast.sampled import Sampled, Tokens, count_tokens, units_of
from penstock_dataprep.forecast.warn import space_warning, warnings_of
from penstock_dataprep.sources.survey import spread
from penstock_dataprep.spec.spec import EntityHashSplit, LeaveLastSplit, Spec, TimeSplit, load_spec
from penstock_dataprep.spec.targets import resolve_targets
from penstock_dataprep.statistics.facts import Facts
from penstock_shared.errors import UserMistake

COLUMN_TYPES = {"user_id": pa.int64(), "item_id": pa.string(), "rating": pa.float32(), "timestamp": pa.int64()}


@pytest.mark.parametrize(
    ("count", "order"),
    [(0, []), (1, [0]), (2, [0, 1]), (4, [0, 2, 1, 3]), (5, [0, 4, 2, 1, 3]), (6, [0, 4, 2, 1, 5, 3])],
)
def test_a_spread_begins_all_over(count: int, order: list[int]) -> None:
    assert spread(count) == order


@pytest.mark.parametrize(
    ("tokens", "sampled", "rows", "estimate", "most"),
    [
        (Tokens(), 0, 1000, 0, 0),
        (Tokens(100, 40, 10), 100, 100, 40, 40),  # all rows were seen
        (Tokens(100, 40, 10), 100, 10_000, 30 + 10 * 10, 30 + 10 * 100),
        (Tokens(100, 100, 100), 100, 400, 200, 400),  # unique ids stay unique at most
        (Tokens(100, 5, 0), 100, 10_000, 5, 5),  # what comes often is known
    ],
)
def test_distinct_tokens(tokens: Tokens, sampled: int, rows: float, estimate: float, most: float) -> None:
    assert distinct_in(tokens, sampled, rows) == pytest.approx(estimate)
    assert distinct_at_most(tokens, sampled, rows) == pytest.approx(most)


@pytest.mark.parametrize(
    ("split", "rows_per_user", "shares"),
    [
        (TimeSplit(by="time", test_fraction=0.1), 1, {"train": 0.9, "test": 0.1}),
        (
            TimeSplit(by="time", test_fraction=0.2, validation_fraction=0.1),
            1,
            {"train": 0.7, "validation": 0.1, "test": 0.2},
        ),
        (LeaveLastSplit(by="leave_last", n=1), 10, {"train": 0.9, "test": 0.1}),
        (LeaveLastSplit(by="leave_last", n=5, validation_n=1), 4, {"train": 0.25, "validation": 0.25, "test": 0.5}),
        (
            EntityHashSplit(by="entity_hash", column="user_id", fractions={"train": 0.75, "test": 0.25}),
            9,
            {"train": 0.75, "test": 0.25},
        ),
    ],
)
def test_split_shares(split: TimeSplit, rows_per_user: float, shares: dict[str, float]) -> None:
    assert split_shares(split, rows_per_user) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("US", "us", True),
        ("US", "us-central1", True),
        ("us-central1", "US", True),
        ("US-CENTRAL1", "us-central1", True),
        ("US", "EU", False),
        ("EU", "europe-west4", True),
        ("EU", "us-east1", False),
        ("us-central1", "us-east1", False),
        ("NAM4", "us-east1", True),
        ("NAM4", "us-west1", False),
        ("ASIA", "asia-east1", True),
    ],
)
def test_locations(one: str, other: str, near: bool) -> None:
    assert is_near(one, other) == near
    assert bool(location_warnings([("source", one), ("bucket", other)])) != near


@pytest.mark.parametrize(
    ("times", "units"),
    [
        ([], {}),
        ([1.7e9], {"s": 1}),
        ([1.7e12], {"ms": 1}),
        ([1.7e15, 1.6e15], {"us": 1}),
        ([1.7e18], {"ns": 1}),
        ([1.7e9, 1.7e9, 1.7e9, 1.7e12], {"s": 0.75, "ms": 0.25}),
        ([19_000, 1.7e9], {"s": 0.5, "none": 0.5}),
    ],
)
def test_units_of_times(times: list[float], units: dict[str, float]) -> None:
    assert units_of(np.array(times, np.int64)) == pytest.approx(units)


def test_tokens_are_counted() -> None:
    chunks = [pa.array(["a", "b", None]), pa.array(["a", "c"])]
    assert count_tokens(chunks) == Tokens(values=4, distinct=3, once=2, top="a", top_count=2)
    assert count_tokens([pa.array([None], pa.string())]) == Tokens()


def test_the_cost_of_ten_billion_rows_by_hand() -> None:
    given = ["rows_per_second_per_vcpu=500_000", "cloud_efficiency=0.5", "workers=100", "vcpus_per_worker=4"]
    prices = ["usd_per_vcpu_hour=0.05", "memory_gb_per_worker=10", "usd_per_gb_memory_hour=0.01", "startup_seconds=100"]
    shuffle = ["bytes_shuffled_per_byte_written=2", "usd_per_gb_shuffled=0.01", "usd_per_tib_read=1"]
    assumed = assume([*given, *prices, *shuffle])
    lines = cost(1e10, 8.0, 1e11, 2.0**41, 0, True, assumed)
    found = {line.name: line.value for line in lines}
    assert found["rate"] == 125_000  # 8 values a row take twice as long as the 4 measured
    assert found["work"] == pytest.approx(80_000 / 3600)
    assert found["duration"] == pytest.approx((100 + 80_000 / 400) / 60)
    assert found["machine time"] == pytest.approx(100 * 300 / 3600)
    assert found["cost of vCPU"] == pytest.approx(100 / 12 * 4 * 0.05)
    assert found["cost of memory"] == pytest.approx(100 / 12 * 10 * 0.01)
    assert found["cost of shuffle"] == pytest.approx(200 * 0.01)
    assert found["cost of reading BigQuery"] == pytest.approx(2)
    parts = [value for name, value in found.items() if name in ("cost of vCPU", "cost of memory", "cost of shuffle")]
    assert found["cost of the build"] == pytest.approx(sum(parts) + 2)
    few = {line.name: line.value for line in cost(1000, 4.0, 1e5, 0, 0, False, assumed)}
    assert few["workers"] == 1
    assert "cost of reading BigQuery" not in few


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("wrkers=3", "no assumption 'wrkers'; did you mean 'workers'"),
        ("workers", "expected workers=NUMBER"),
        ("workers=many", "expected workers=NUMBER"),
        ("workers=-1", "expected workers=NUMBER"),
        ("workers=nan", "expected workers=NUMBER"),
        ("workers=0", "expected a number above 0"),
    ],
)
def test_what_cannot_be_assumed(given: str, message: str) -> None:
    with pytest.raises(UserMistake, match=message):
        assume([given])


def test_every_assumption_has_a_date_and_a_source() -> None:
    assert all(one.date and one.source for one in ASSUMPTIONS.values())
    assert assume(["usd_per_vcpu_hour=0"])["usd_per_vcpu_hour"].source == "given by --assume"


def a_spec(**changes: object) -> Spec:
    columns = {name: {**column, "null": "reject"} for name, column in PLAIN_COLUMNS.items()}
    return load_spec("spec.yaml", yaml.safe_dump({**spec_of("log.parquet", columns), **changes}, sort_keys=False))


def warned(sampled: Sampled, spec: Spec | None = None, nullable: frozenset[str] = frozenset()) -> list[str]:
    spec = spec or a_spec()
    targets = resolve_targets(spec, COLUMN_TYPES, "log")
    return list(warnings_of(spec, targets, spec.vocabularies(), nullable, sampled, 1e9))


@pytest.mark.parametrize(
    ("sampled", "message"),
    [
        (Sampled(rows=5000, tokens={"user_id": Tokens(5000, 500, 10, "7", 49)}), None),
        (
            Sampled(rows=5000, tokens={"user_id": Tokens(5000, 4900, 4800, "7", 2)}),
            "columns.user_id.*nearly unique per row",
        ),
        (Sampled(rows=500, tokens={"user_id": Tokens(500, 490, 480, "7", 2)}), None),  # too few to tell
        (Sampled(rows=5000, tokens={"user_id": Tokens(5000, 500, 10, "bot", 600)}), "columns.user_id: 'bot' has 12.0%"),
        (Sampled(rows=5000, tokens={"item_id": Tokens(5000, 500, 10, "hit", 600)}), None),  # popular items are usual
        (
            Sampled(rows=5000, tokens={"item_id": Tokens(5000, 500, 10, "hit", 2600)}),
            "columns.item_id: 'hit' has 52.0%",
        ),
        (Sampled(rows=5000, units={"timestamp": {"s": 1.0}}), None),
        (
            Sampled(rows=5000, units={"timestamp": {"s": 0.9, "ms": 0.1}}),
            "look like s, but 10.00% like ms: mixed units",
        ),
        (Sampled(rows=5000, units={"timestamp": {"none": 1.0}}), "columns.timestamp: .* is it a time"),
        (Sampled(rows=100, rejected=Counter({"rating range": 9})), "max_reject_fraction: 9.00% .*rating range: 9"),
    ],
)
def test_warnings(sampled: Sampled, message: str | None) -> None:
    found = warned(sampled)
    if message is None:
        assert found == []
    else:
        assert len(found) == 1
        assert re.search(message, found[0])


@pytest.mark.parametrize(("needed", "free", "warned"), [(0, 0, 0), (99, 100, 0), (100, 100, 0), (101, 100, 1)])
def test_room_on_the_disk(needed: float, free: int, warned: int) -> None:
    assert len(space_warning("folder", needed, free)) == warned


def test_nulls_without_a_policy() -> None:
    spec = load_spec("spec.yaml", yaml.safe_dump(spec_of("log.parquet", PLAIN_COLUMNS), sort_keys=False))
    found = warned(Sampled(rows=200, nulls={"rating": 2}), spec, frozenset({"rating", "user_id"}))
    assert len(found) == 2
    assert found[0].startswith("columns.rating: 1.00% of 200 sampled rows are null, and no null policy")
    assert found[1].startswith("columns user_id: nullable in the source")
    assert warned(Sampled(rows=200, nulls={"rating": 1}, facts=Facts()), nullable=frozenset({"rating"})) == []
