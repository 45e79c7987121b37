"""Check that a generated log has the statistics it promises, and is the same however it is cut."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from penstock_dataprep.generate import default_files, generate
from penstock_dataprep.generate.draws import directions, normal, pick, sparse_ids, uniform, words
from penstock_dataprep.generate.events import Events, make_events
from penstock_dataprep.generate.population import Population, populate
from penstock_dataprep.generate.write import ROWS_PER_GROUP, make_table
from penstock_shared.errors import UserMistake

ROWS, USERS, ITEMS, SEED = 300_000, 20_000, 4_000, 7


@pytest.fixture(scope="module")
def population() -> Population:
    return populate(USERS, ITEMS, SEED)


@pytest.fixture(scope="module")
def events(population: Population) -> Events:
    return make_events(population, 0, ROWS, ROWS)


def read(paths: list[str]) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in paths])


# --- the files


def test_files_hold_the_log_in_the_promised_schema(tmp_path) -> None:
    paths = generate(str(tmp_path / "log"), 10_000, 500, 200, seed=1, files=3)
    assert [path.rsplit("/")[-1] for path in paths] == [f"part-0000{n}-of-00003.parquet" for n in range(3)]
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [path.rsplit("/")[-1] for path in paths]
    log = read(paths)
    assert log.schema.names == ["user_id", "item_id", "rating", "timestamp"]
    assert log.schema.types == [pa.string(), pa.int64(), pa.float32(), pa.int64()]
    assert len(log) == 10_000
    assert log["rating"].null_count > 0
    assert [log[name].null_count for name in ("user_id", "item_id", "timestamp")] == [0, 0, 0]
    assert pc.all(pc.match_substring_regex(log["user_id"], "^u[0-9]{10,19}$")).as_py()
    assert pc.min(log["item_id"]).as_py() >= 0


def test_golden_rows() -> None:
    # The README and the benchmarks' figures speak of this log.
    rows = make_table(populate(users=100_000, items=20_000, seed=7), 0, 3, rows=1_000_000)
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        ("u3279540433433680007", 6241630433153084440, 4.0, 1500005985),
        ("u5382591027714088139", 5591434868488679255, 3.0, 1500050455),
        ("u1581270302953871653", 1599048255080300373, 4.0, 1500052755),
    ]


def test_equal_arguments_give_equal_bytes(tmp_path) -> None:
    first = generate(str(tmp_path / "a"), 5_000, 100, 50, seed=3, files=2)
    again = generate(str(tmp_path / "b"), 5_000, 100, 50, seed=3, files=2)
    for one, other in zip(first, again, strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()


def test_rows_do_not_depend_on_where_files_and_row_groups_are_cut(tmp_path) -> None:
    rows = ROWS_PER_GROUP + 10_000
    one = generate(str(tmp_path / "one"), rows, 300, 100, seed=3, files=1)
    many = generate(str(tmp_path / "many"), rows, 300, 100, seed=3, files=7)
    assert pq.ParquetFile(one[0]).num_row_groups == 2
    assert read(one).equals(read(many))


def test_another_seed_gives_another_log(tmp_path) -> None:
    one, other = (read(generate(str(tmp_path / str(seed)), 1_000, 100, 50, seed)) for seed in (1, 2))
    for name in one.schema.names:
        assert one[name] != other[name]


def test_progress_adds_up_to_the_rows(tmp_path) -> None:
    told: list[int] = []
    generate(str(tmp_path), 10_000, 100, 50, seed=1, files=4, progress=told.append)
    assert sum(told) == 10_000
    assert len(told) == 4


@pytest.mark.parametrize(
    ("rows", "users", "items"), [(1, 1, 1), (50, 3, 2), (2_000, 1, 5_000), (2_000, 5_000, 1), (100, 2**40, 2**40)]
)
def test_any_size_makes_a_log(tmp_path, rows: int, users: int, items: int) -> None:
    log = read(generate(str(tmp_path), rows, users, items, seed=5))
    assert len(log) == rows
    assert len(pc.unique(log["user_id"])) <= users
    assert len(pc.unique(log["item_id"])) <= items


def test_a_long_log_is_cut_into_files_of_half_a_million_rows() -> None:
    assert [default_files(rows) for rows in (1, 2**19, 2**19 + 1, 10_000_000)] == [1, 1, 2, 20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows: found 0, expected 1 to"),
        ({"users": -1}, "users: found -1, expected 1 to"),
        ({"items": 0}, "items: found 0, expected 1 to"),
        ({"files": 11}, "files: found 11, expected 1 to 10"),
        ({"folder": "gs://bucket/log"}, "expected a local folder"),
    ],
)
def test_arguments_that_make_no_log_are_refused(tmp_path, change: dict[str, object], message: str) -> None:
    arguments = {"folder": str(tmp_path), "rows": 10, "users": 5, "items": 5, "seed": 1, "files": 1} | change
    with pytest.raises(UserMistake, match=message):
        generate(**arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_a_log_is_refused(tmp_path) -> None:
    generate(str(tmp_path), 10, 5, 5, seed=1)
    with pytest.raises(UserMistake, match=r"already holds part-00000-of-00001\.parquet"):
        generate(str(tmp_path), 10, 5, 5, seed=1)


def test_a_failed_write_leaves_no_unfinished_file(tmp_path) -> None:
    def fail(written: int) -> None:
        raise RuntimeError("the screen is gone")

    with pytest.raises(RuntimeError, match="the screen is gone"):
        generate(str(tmp_path), 10_000, 50, 50, seed=1, files=4, progress=fail)
    assert not list(tmp_path.iterdir())


# --- the statistics


@pytest.mark.parametrize(("who", "first", "last", "slope"), [("user", 100, 5_000, -0.8), ("item", 60, 1_500, -1.0)])
def test_popularity_follows_zipf(events: Events, who: str, first: int, last: int, slope: float) -> None:
    counts = np.sort(np.bincount(getattr(events, who)))[::-1]
    ranks = np.arange(first, last)
    assert np.polyfit(np.log(ranks), np.log(counts[ranks]), 1)[0] == pytest.approx(slope, abs=0.12)
    assert counts[0] < 0.02 * ROWS


def test_one_row_in_a_thousand_is_null_or_repeats(events: Events) -> None:
    assert 1 - events.rated.mean() == pytest.approx(0.001, rel=0.25)
    rows = np.stack([events.user, events.item, events.timestamp, (events.rating * 2).astype(np.int64)], axis=1)
    assert (ROWS - len(np.unique(rows, axis=0))) / ROWS == pytest.approx(0.001, rel=0.25)


def test_ratings_are_halves_of_which_all_occur(events: Events) -> None:
    assert np.unique(events.rating).tolist() == [half / 2 for half in range(1, 11)]
    assert 3 < events.rating.mean() < 4


def test_time_runs_through_the_log(events: Events) -> None:
    assert np.corrcoef(np.arange(ROWS), events.timestamp)[0, 1] > 0.999
    steps_back = np.diff(events.timestamp) < -86_400
    assert 0 < steps_back.mean() < 0.002  # only the repeats of earlier rows


def test_most_late_users_have_a_history(events: Events) -> None:
    cut = ROWS * 9 // 10
    late = np.unique(events.user[cut:])
    assert np.isin(late, events.user[:cut]).mean() > 0.6
    # and yet users come and go: many of the early ones are not seen late
    early = np.unique(events.user[: ROWS // 10])
    assert np.isin(early, late).mean() < 0.6


def test_new_items_appear(events: Events) -> None:
    cut = ROWS * 9 // 10
    unseen = 1 - np.isin(events.item[cut:], events.item[:cut]).mean()
    assert 0.01 < unseen < 0.1
    early, late = (np.bincount(part, minlength=3 * ITEMS) for part in (events.item[:cut], events.item[cut:]))
    top_early, top_late = np.argsort(-early)[:100], np.argsort(-late)[:100]
    assert 0.2 < np.isin(top_late, top_early).mean() < 0.9


def test_users_of_one_item_share_others_of_its_taste(population: Population, events: Events) -> None:
    taste = population.item_taste(events.item)
    order = np.lexsort((events.timestamp, events.user))
    same_user = events.user[order][1:] == events.user[order][:-1]
    same_taste = (taste[order][1:] == taste[order][:-1])[same_user]
    chance = (np.bincount(taste) ** 2).sum() / ROWS**2
    assert same_taste.mean() > 8 * chance


def test_taste_beats_popularity_at_retrieval(population: Population, events: Events) -> None:
    cut = ROWS * 9 // 10
    counts = np.bincount(events.item[:cut], minlength=events.item.max() + 1)
    late_users, late_items = events.user[cut:], events.item[cut:]
    popular = np.isin(late_items, np.argsort(-counts)[:10]).mean()
    by_taste = population.item_taste(np.arange(len(counts)))
    best = np.stack([np.argsort(-np.where(by_taste == taste, counts, -1))[:10] for taste in range(population.tastes)])
    tasteful = (best[population.main_taste(late_users)] == late_items[:, None]).any(axis=1).mean()
    assert tasteful > 2 * popular


def test_taste_beats_biases_at_rating(population: Population, events: Events) -> None:
    user, item, rating = events.user, events.item, events.rating.astype(np.float64)
    train, test = slice(0, ROWS * 9 // 10), slice(ROWS * 9 // 10, ROWS)
    user_bias, item_bias, mean = np.zeros(USERS), np.zeros(item.max() + 1), rating[train].mean()
    for _ in range(5):
        user_bias = _damped_means(user[train], rating[train] - mean - item_bias[item[train]], len(user_bias))
        item_bias = _damped_means(item[train], rating[train] - mean - user_bias[user[train]], len(item_bias))
    unexplained = rating - mean - user_bias[user] - item_bias[item]
    tastes = population.tastes
    cell = (population.main_taste(user) * tastes + population.second_taste(user)) * tastes + population.item_taste(item)
    match = _damped_means(cell[train], unexplained[train], tastes**3)
    biases_rmse = np.sqrt(np.mean(unexplained[test] ** 2))
    taste_rmse = np.sqrt(np.mean((unexplained - match[cell])[test] ** 2))
    assert biases_rmse < 0.95 * rating[test].std()
    assert taste_rmse < 0.92 * biases_rmse


def _damped_means(group: np.ndarray, value: np.ndarray, groups: int) -> np.ndarray:
    return np.bincount(group, value, groups) / (np.bincount(group, minlength=groups) + 3)


# --- the draws


def test_ids_are_distinct_and_sparse() -> None:
    ids = sparse_ids(1, "user id", np.arange(1_000_000))
    assert len(np.unique(ids)) == len(ids)
    assert ids.min() >= 0
    assert np.histogram(ids.astype(float), bins=16, range=(0, 2.0**63))[0] == pytest.approx(62_500, rel=0.05)


def test_streams_of_two_purposes_are_independent() -> None:
    index = np.arange(100_000)
    one, other = uniform(words(1, "a", index)), uniform(words(1, "b", index))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert np.histogram(one, bins=10, range=(0, 1))[0] == pytest.approx(10_000, rel=0.06)


def test_shapes_of_the_draws() -> None:
    drawn = words(1, "shape", np.arange(100_000))
    assert normal(drawn).mean() == pytest.approx(0, abs=0.02)
    assert normal(drawn).std() == pytest.approx(1, abs=0.02)
    assert directions(drawn).shape == (100_000, 8)
    assert directions(drawn).std(axis=0) == pytest.approx(1, abs=0.02)
    assert np.bincount(pick(drawn, 20)) == pytest.approx(5_000, rel=0.1)
