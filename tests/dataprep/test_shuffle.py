"""Hold the order of rows to being a uniform permutation that hangs on nothing but the rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.shuffle import order_rows, shard_count, shard_of
from penstock_shared.layout import Column

COLUMNS = (Column(name="user", storage="u24"), Column(name="rating", storage="f16"))
ROWS_PER_BLOCK, SHARD_BYTES = 100, 10_000

PLACES = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.sampled_from([2**32, 2**63, 2**64 - 1]))
ROWS = st.lists(st.tuples(PLACES, st.integers(0, 3), st.integers(0, 1)), max_size=60)


def places_of(rows: list[tuple[int, int, int]], shard: int = 0, shards: int = 1, drop: bool = False) -> list[int]:
    """Return the places in `rows` of the rows, in their final order."""
    columns = np.array(rows, object).reshape(-1, 3)
    places, left, right = (columns[:, at].astype(kind) for at, kind in enumerate((np.uint64, np.int64, np.float32)))
    found: list[int] = order_rows(places, lambda rows: [left[rows], right[rows]], shard, shards, drop).tolist()
    return found


def ordered(rows: list[tuple[int, int, int]], shard: int = 0, shards: int = 1, drop: bool = False) -> list:
    """Return the rows in their final order."""
    return [rows[place] for place in places_of(rows, shard, shards, drop)]


@given(ROWS, st.randoms())
def test_the_order_is_a_permutation_that_no_input_order_changes(rows: list, random: Any) -> None:
    assert sorted(places_of(rows)) == list(range(len(rows)))
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert ordered(shuffled) == ordered(rows)


@given(ROWS)
def test_rows_without_copies_are_ordered_by_place_and_then_content(rows: list) -> None:
    distinct = list(set(rows))
    assert ordered(distinct) == sorted(distinct)


@given(ROWS)
def test_dropping_leaves_one_of_each(rows: list) -> None:
    assert ordered(rows, drop=True) == sorted(set(rows))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50), st.integers(1, 1000))
def test_shards_cut_the_places_in_order(places: list[int], shards: int) -> None:
    found = shard_of(np.array(sorted(places), np.uint64), shards)
    assert found.dtype == np.int64
    assert (np.diff(found) >= 0).all()
    assert found.tolist() == [(place >> 32) * shards >> 32 for place in sorted(places)]
    assert 0 <= found.min() <= found.max() < shards


@pytest.mark.parametrize(("shard", "shards"), [(0, 1), (0, 3), (1, 3), (2, 3), (6, 7), (999, 1000)])
def test_moved_copies_stay_in_their_shard_and_spread_over_it(shard: int, shards: int) -> None:
    low, high = -(-(shard << 64) // shards), ((shard + 1) << 64) // shards
    place = (low + high) // 2
    # Other rows of the shard, evenly spaced, show where copies come to lie among them.
    others = [(low + (high - low) * (2 * at + 1) // 4000, at, 0) for at in range(2000)]
    assert set(shard_of(np.array([row[0] for row in others], np.uint64), shards)) == {shard}
    found = ordered(others + [(place, 7777, 1)] * 500, shard, shards)
    at = np.flatnonzero([row[1] == 7777 for row in found])
    assert len(at) == 500
    gaps = np.histogram(at, bins=10, range=(0, 2500))[0]
    assert (np.abs(gaps - 50) < 5 * np.sqrt(50)).all()


def test_copies_are_neighbours_as_often_as_chance_has_it() -> None:
    rng = np.random.default_rng(3)
    places = np.repeat(rng.integers(0, 2**64, 40, dtype=np.uint64), 100)
    laid = places[order_rows(places, lambda rows: [places[rows]], 0, 1, False)]
    neighbours = int((laid[1:] == laid[:-1]).sum())
    expected = 40 * 100 * 99 / len(places)
    assert abs(neighbours - expected) < 5 * np.sqrt(expected)


def test_different_rows_of_one_place_are_no_copies() -> None:
    rows = [(5, 2, 0), (5, 1, 1), (5, 1, 0), (5, 2, 0)]
    assert ordered(rows, drop=True) == [(5, 1, 0), (5, 1, 1), (5, 2, 0)]


@pytest.mark.parametrize(
    ("rows", "list_bytes", "shards"),
    [
        # A row takes 5 bytes; 16 shards once there are 32 blocks of 100 rows for each.
        (0, 0, 0),
        (1, 0, 1),
        (2000, 0, 1),
        (2001, 0, 2),
        (3200, 0, 2),
        (2000, 5.0, 2),
        (20_000, 0, 10),
        (51_200, 0, 26),
    ],
)
def test_shards_are_as_many_as_their_bytes_ask_for(rows: int, list_bytes: float, shards: int) -> None:
    assert shard_count(rows, COLUMNS, list_bytes, SHARD_BYTES, ROWS_PER_BLOCK) == shards


@pytest.mark.parametrize(("rows", "shards"), [(3199, 1), (6400, 2), (51_200, 16), (10**6, 16)])
def test_large_shards_are_spread_for_several_readers(rows: int, shards: int) -> None:
    assert shard_count(rows, COLUMNS, 0, 10**9, ROWS_PER_BLOCK) == shards
