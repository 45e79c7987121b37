"""Hold splits to their rules: the cut nearest to the fraction, whole entities, each user's last rows."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from logs import build, plain_log, plain_spec, rows_of, spec_of, vocabulary_tokens, write_parquet

from penstock_dataprep.order import leave_last
from penstock_dataprep.order.split import SPLITS, EntityHashSplitter, make_splitter, wanted_splits
from penstock_dataprep.rows.staged import Staged, read_rows, read_tokens, stage
from penstock_dataprep.spec.spec import Spec, load_spec
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.statistics.facts import TIME_BUCKETS
from penstock_dataprep.statistics.histogram import Histogram
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.verify.dataset import verify
from penstock_shared import DataRefused

COLUMNS = {
    "u": {"role": "user", "vocabulary": {}, "null": "keep"},
    "i": {"role": "item", "vocabulary": {}},
    "t": {"role": "time"},
}


def spec(split: dict[str, Any]) -> Spec:
    return load_spec("spec.yaml", yaml.safe_dump(spec_of("f", COLUMNS, split=split)))


TARGETS = (
    Target("u", "u", "user", "int64", False, "u", "keep", None),
    Target("i", "i", "item", "int64", False, "i", "reject", None),
    Target("t", "t", "time", "int64", False, None, "reject", None),
)


Row = tuple[int | None, int, int]


def staged_rows(rows: list[Row], scratch: Scratch) -> Staged:
    """Stage (user, item, time) rows as the pipeline does."""
    users, items, times = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    batch = pa.RecordBatch.from_pydict(
        {"u": pa.array(users, pa.int64()), "i": pa.array(items, pa.int64()), "t": pa.array(times, pa.int64())}
    )
    return stage(batch, TARGETS, 17, "000000-0000", scratch)


def as_given(rows: list[Row], staged: Staged, found: list[Any], scratch: Scratch) -> list[Any]:
    """Return in the order of `rows` what was found of the staged rows, which is one and the same for copies."""
    held = read_rows(staged, TARGETS, scratch)
    tokens = {name: [*read_tokens(staged, name, scratch)[0].to_pylist(), None] for name in ("u", "i")}
    columns = [[tokens[name][code] for code in held.columns[name].numbers] for name in ("u", "i")]
    of_row = dict(zip(zip(*columns, held.columns["t"].numbers.tolist(), strict=True), found, strict=True))
    return [of_row[row] for row in rows]


def assign(rows: list[Row], split: dict[str, Any], drop_copies: bool = False) -> list[str]:
    """Return the split of each row, in its order."""
    rules = spec(split)
    with TemporaryDirectory() as folder:
        scratch = Scratch(folder)
        staged = staged_rows(rows, scratch)
        held = read_rows(staged, TARGETS, scratch)
        if split["by"] == "leave_last":
            found = leave_last.events(staged, held, "u", "t", scratch)
            leave_last.save_cutoffs([leave_last.cutoffs(found, rules.split, drop_copies)], scratch)
        splitter = make_splitter(rules, Histogram.of(np.array([row[2] for row in rows], np.int64), TIME_BUCKETS))
        found = [SPLITS[number] for number in splitter.assign(staged, held, scratch)]
        return as_given(rows, staged, found, scratch)


TIMES = st.lists(st.one_of(st.integers(-20, 20), st.integers(-(2**63), 2**63 - 1)), min_size=2, max_size=60)


def nearest_cut(times: list[int], fraction: float) -> int:
    """Return the earliest of the times, the first left out, that leaves the share nearest to the fraction."""
    cuts = sorted(set(times))[1:]
    return min(cuts, key=lambda cut: (abs(sum(time >= cut for time in times) / len(times) - fraction), cut))


@given(TIMES, st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.9]), st.sampled_from([0.0, 0.05]))
def test_the_time_cut_is_the_nearest_to_the_fraction(times: list[int], test: float, validation: float) -> None:
    rows = [(1, place, time) for place, time in enumerate(times)]
    split = {"by": "time", "test_fraction": test, "validation_fraction": validation}
    if len(set(times)) == 1:
        with pytest.raises(DataRefused, match="t is the same in every row"):
            assign(rows, split)
        return
    test_from = nearest_cut(times, test)
    validation_from = min(test_from, nearest_cut(times, test + validation))
    assert assign(rows, split) == [
        "test" if time >= test_from else "validation" if time >= validation_from else "train" for time in times
    ]
    assert "train" in assign(rows, split)


def test_without_fractions_all_rows_are_train() -> None:
    for times in ([5, 5], [1, 2, 3]):
        rows = [(1, place, time) for place, time in enumerate(times)]
        assert set(assign(rows, {"by": "time", "test_fraction": 0.0})) == {"train"}


def test_no_row_with_a_time_cannot_be_cut() -> None:
    with pytest.raises(DataRefused, match="split: no row has a t"):
        make_splitter(spec({"by": "time", "test_fraction": 0.1}), None)


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ({"by": "time", "test_fraction": 0.1}, ("train", "test")),
        ({"by": "time", "test_fraction": 0.0}, ("train",)),
        ({"by": "time", "test_fraction": 0.1, "validation_fraction": 0.1}, SPLITS),
        ({"by": "time", "test_fraction": 0.0, "validation_fraction": 0.1}, ("train", "validation")),
        ({"by": "leave_last"}, ("train", "test")),
        ({"by": "leave_last", "validation_n": 1}, SPLITS),
        ({"by": "entity_hash", "column": "u", "fractions": {"train": 1}}, ("train",)),
        ({"by": "entity_hash", "column": "u", "fractions": {"validation": 0.1, "train": 0.9}}, ("train", "validation")),
    ],
)
def test_which_splits_there_are(split: dict[str, Any], wanted: tuple[str, ...]) -> None:
    assert wanted_splits(spec(split).split) == wanted


FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def test_entities_stay_whole_in_shares_as_asked() -> None:
    rows = [(user, copy, 0) for user in range(5000) for copy in range(2)]
    by_hash = {"by": "entity_hash", "column": "u", "fractions": FRACTIONS}
    found = assign(rows, by_hash)
    assert found[::2] == found[1::2]
    for name, share in FRACTIONS.items():
        spread = np.sqrt(share * (1 - share) / 5000)
        assert abs(found.count(name) / len(found) - share) < 4 * spread
    # An entity's split hangs on nothing but the entity.
    assert assign([(7, 99, 5), (None, 1, 1), (4999, 0, 0)], by_hash)[::2] == [found[14], found[-1]]


def test_growing_a_split_moves_no_entity_out_of_it() -> None:
    rows = [(user, 0, 0) for user in range(3000)]
    small, large = (
        assign(rows, {"by": "entity_hash", "column": "u", "fractions": {"train": train, "test": 1 - train}})
        for train in (0.9, 0.8)
    )
    assert all(b == "test" for a, b in zip(small, large, strict=True) if a == "test")


@pytest.mark.parametrize("fractions", [(1 / 3 - 1e-10, 2 / 3, 0.0), (1.0, 0.0, 0.0), (1 - 1e-10, 0.0, 0.0)])
def test_rounding_leaves_no_entity_without_a_split(fractions: tuple[float, float, float], monkeypatch) -> None:
    # The place of an entity can come this near to 1.
    monkeypatch.setattr("penstock_dataprep.order.split.mix64", lambda words: words.fill(2**64 - 1))
    with TemporaryDirectory() as folder:
        scratch = Scratch(folder)
        staged = staged_rows([(1, 1, 1)], scratch)
        (found,) = EntityHashSplitter("u", fractions).assign(staged, read_rows(staged, TARGETS, scratch), scratch)
    assert fractions[found] > 0


USER_ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 4)), st.integers(0, 3), st.one_of(st.integers(0, 6), st.just(2**63 - 1))
    ),
    max_size=40,
)


@given(USER_ROWS, st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_the_last_rows_of_each_user_are_held_out(rows: list, n: int, validation_n: int, drop_copies: bool) -> None:
    if not rows:
        return
    with TemporaryDirectory() as folder:
        scratch = Scratch(folder)
        staged = staged_rows(rows, scratch)
        places = as_given(rows, staged, read_rows(staged, TARGETS, scratch).place.tolist(), scratch)
    expected = ["train"] * len(rows)
    for user in {user for user, _, _ in rows if user is not None}:
        # A user's moments in order, and how many rows there are at each: copies are at one moment.
        moments = Counter((row[2], place) for row, place in zip(rows, places, strict=True) if row[0] == user)
        ordered = [moment for moment in sorted(moments) for _ in range(1 if drop_copies else moments[moment])]
        if len(ordered) <= n + validation_n or ordered[-n - validation_n] == ordered[0]:
            continue
        for place, row in enumerate(rows):
            if row[0] == user:
                moment = (row[2], places[place])
                expected[place] = (
                    "test"
                    if moment >= ordered[-n]
                    else "validation"
                    if moment >= ordered[-n - validation_n]
                    else "train"
                )
    assert assign(rows, {"by": "leave_last", "n": n, "validation_n": validation_n}, drop_copies) == expected


def test_held_out_rows_are_the_latest_and_no_user_loses_all() -> None:
    rows = [(user, item, item) for user in range(5) for item in range(user + 1)]
    found = dict(zip(rows, assign(rows, {"by": "leave_last", "n": 1, "validation_n": 1}), strict=True))
    assert [found[user, user, user] for user in range(5)] == ["train", "train", "test", "test", "test"]
    assert [found[user, user - 1, user - 1] for user in range(1, 5)] == [
        "train",
        "validation",
        "validation",
        "validation",
    ]


def test_leave_last_builds_with_each_split_and_counts_tokens_of_train_alone(tmp_path: Path) -> None:
    log = plain_log(1500, seed=11, users=120)
    document = plain_spec(
        write_parquet(log, tmp_path / "log", files=2), split={"by": "leave_last", "n": 2, "validation_n": 1}
    )
    built = build(document, tmp_path / "out")
    verify(built.manifest, str(built.path))
    rows = {name: rows_of(built, name) for name in SPLITS}
    counted = Counter(row[0] for row in rows["train"])
    assert [count for _, count in vocabulary_tokens(built, "user_id")] == sorted(counted.values(), reverse=True)
    latest_train = {user: max(row[3] for row in rows["train"] if row[0] == user) for user in counted}
    for user, _, _, time in rows["validation"] + rows["test"]:
        assert time >= latest_train[user]
    assert max(Counter(row[0] for row in rows["test"]).values()) <= 4
    assert built.manifest.splits["test"].rule == "the last 2 rows of each value of user_id by timestamp, ties by hash"


def test_an_empty_split_is_a_split(tmp_path: Path) -> None:
    log = plain_log(50, seed=1, users=10**6)
    built = build(
        plain_spec(write_parquet(log, tmp_path / "log"), split={"by": "leave_last", "n": 5}), tmp_path / "out"
    )
    assert (built.manifest.splits["test"].rows, built.manifest.splits["test"].shards) == (0, ())
    assert verify(built.manifest, str(built.path)) > 30
