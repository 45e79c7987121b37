"""Hold the order of rows to being a uniform permutation that hangs on nothing but the rows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.order.cells import cells_per_shard, order_cells
from penstock_dataprep.order.shuffle import first_places, shard_count, shard_of
from penstock_dataprep.rows.staged import PLACE
from penstock_shared.layout import Column

COLUMNS = (Column(name="user", storage="u24"), Column(name="rating", storage="f16"))
ROWS_PER_BLOCK, SHARD_BYTES = 100, 10_000

PLACES = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.sampled_from([2**32, 2**63, 2**64 - 1]))
ROWS = st.lists(st.tuples(PLACES, st.integers(0, 3), st.integers(0, 1)), max_size=60)


def ordered(rows: list, shard: int = 0, shards: int = 1, drop: bool = False, cells: int = 1, batches: int = 1) -> list:
    """Return the rows in their final order, as they come out of some cells from some batches."""
    columns = np.array(rows, object).reshape(-1, 3)
    kinds = (np.uint64, np.int64, np.float32)
    arrays = [pa.array(columns[:, at].astype(kind)) for at, kind in enumerate(kinds)]
    table = pa.RecordBatch.from_arrays(arrays, names=[PLACE, "left", "right"])
    cell = shard_of(table.column(PLACE).to_numpy(), shards * cells)
    dealt = [table.take(pa.array(at[np.argsort(cell[at])])) for at in np.array_split(np.arange(len(rows)), batches)]
    found = order_cells(dealt, shard, shards, cells, drop)
    return [tuple(row.values()) for batch in found for row in batch.to_pylist()]


@given(ROWS, st.randoms())
def test_the_order_is_a_permutation_that_no_input_order_changes(rows: list, random: Any) -> None:
    assert sorted(row[1:] for row in ordered(rows)) == sorted(row[1:] for row in rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert ordered(shuffled) == ordered(rows)


@given(ROWS)
def test_rows_without_copies_are_ordered_by_place_and_then_content(rows: list) -> None:
    distinct = list(set(rows))
    assert ordered(distinct) == sorted(distinct)


@given(ROWS, st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_cells_and_batches_do_not_change_the_order(rows: list, cells: int, batches: int, drop: bool) -> None:
    assert ordered(rows, drop=drop, cells=cells, batches=batches) == ordered(rows, drop=drop)


@pytest.mark.parametrize(
    ("rows", "shards", "cells"), [(0, 0, 1), (100, 1, 1), (1 << 20, 1, 8), (1 << 20, 18, 8), (11 << 20, 1000, 4)]
)
def test_cells_are_small_and_not_too_many(rows: int, shards: int, cells: int) -> None:
    assert cells_per_shard(rows, shards) == cells


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
    rows = [(place, number, 0) for number, place in enumerate(places[::100].tolist()) for _ in range(100)]
    laid = np.array([row[1] for row in ordered(rows)])
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


@given(st.integers(1, 5000))
def test_a_shard_begins_at_its_first_place(shards: int) -> None:
    firsts = first_places(shards)
    assert shard_of(firsts, shards).tolist() == list(range(shards))
    assert shard_of(firsts[1:] - np.uint64(1), shards).tolist() == list(range(shards - 1))
