"""Hold the cutting of tables to its one duty: every row is in exactly one range."""

import datetime
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.sources.bigquery.ranges import Partitioning, cut, partition_start, restrict

DAYS = st.dates(datetime.date(2020, 1, 1), datetime.date(2020, 3, 1))


def holds(restriction: str, value: object) -> bool:
    """Evaluate a range's condition on column c for a value, in Python's terms."""
    text = restriction.replace("`c` IS NOT NULL", "c is not None").replace("`c` IS NULL", "c is None")
    text = re.sub(r"DATE '(\d+)-(\d+)-(\d+)'", r"date(int('\1'), int('\2'), int('\3'))", text)
    text = text.replace("`c` ", "c is not None and c ").replace(" AND ", " and ") or "True"
    return bool(eval(text, {"c": value, "date": datetime.date, "int": int}))


@given(st.dictionaries(DAYS, st.integers(1, 100)), st.integers(1, 200), st.lists(DAYS | st.none(), min_size=1))
def test_every_day_is_in_one_range_whatever_partitions_are_known(
    known: dict[datetime.date, int], rows_per_range: int, values: list[datetime.date | None]
) -> None:
    partitions = [(f"{day:%Y%m%d}", rows) for day, rows in known.items()] + [("__NULL__", 3), ("__UNPARTITIONED__", 4)]
    ranges = cut("t", 1000, rows_per_range, Partitioning("`c`", "DATE", partitions), None)
    for value in values:
        assert sum(holds(held.restriction, value) for held in ranges) == 1, (value, ranges)
    assert sum(held.weight for held in ranges) == sum(known.values()) + 7
    assert all(held.weight <= max(rows_per_range, 100) for held in ranges)
    assert [held.weight for held in ranges] == sorted((held.weight for held in ranges), reverse=True)


@given(st.dictionaries(st.integers(-50, 50), st.integers(1, 100)), st.integers(1, 200), st.integers(-80, 80))
def test_every_integer_is_in_one_range(known: dict[int, int], rows_per_range: int, value: int) -> None:
    partitioning = Partitioning("`c`", "INT64", [(str(start), rows) for start, rows in known.items()])
    ranges = cut("t", 1000, rows_per_range, partitioning, None)
    assert sum(holds(held.restriction, value) for held in ranges) == 1


@pytest.mark.parametrize(
    ("partition", "type_", "expected"),
    [
        # partition id, type of the column, literal of its first value
        ("2026", "DATE", "DATE '2026-01-01'"),
        ("202611", "DATE", "DATE '2026-11-01'"),
        ("20261120", "DATE", "DATE '2026-11-20'"),
        ("2026112007", "TIMESTAMP", "TIMESTAMP '2026-11-20 07:00:00+00'"),
        ("20261120", "DATETIME", "DATETIME '2026-11-20 00:00:00'"),
        ("-20", "INT64", "-20"),
        ("__NULL__", "DATE", None),
        ("__UNPARTITIONED__", "INT64", None),
        ("__STREAMING_UNPARTITIONED__", "TIMESTAMP", None),
    ],
)
def test_a_partition_starts_at(partition: str, type_: str, expected: str | None) -> None:
    found = partition_start(partition, type_)
    assert (found and found[1]) == expected


def test_only_what_is_far_too_large_is_hashed() -> None:
    assert [held.restriction for held in cut("t", 200, 10, None, "h")] == [""]
    assert [held.restriction for held in cut("t", 201, 10, None, "h")] == [
        "IFNULL(ABS(MOD(FARM_FINGERPRINT(h), 2)), 0) = 0",
        "IFNULL(ABS(MOD(FARM_FINGERPRINT(h), 2)), 0) = 1",
    ]
    assert [held.restriction for held in cut("t", 10**6, 10, None, None)] == [""]


def test_conditions_are_joined_in_parentheses() -> None:
    assert restrict("a OR b", None, "", "c") == "(a OR b) AND (c)"
    assert restrict(None) == ""
