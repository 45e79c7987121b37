"""Hold builds of histories and sequences to plain Python: the right events, in order, never out of the future."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from event_logs import BY_TIME, BY_USER, COLUMNS, HISTORY, LEAVE_LAST, SEQUENCES, build_log, document, log_of, split_of
from event_reference import Ids, as_sequences, with_histories
from killing import Request
from logs import build, contents, rows_of, run, shards, write_parquet

from penstock_dataprep.histories import gather, partitions
from penstock_dataprep.histories.windows import members
from penstock_dataprep.sources import parquet
from penstock_dataprep.verify.dataset import verify
from penstock_shared.tokens import NULL_ID

REFERENCES = {"history": with_histories, "sequences": as_sequences}


@pytest.mark.parametrize("layout", ["blocks", "examples"])
@pytest.mark.parametrize("split", [BY_TIME, LEAVE_LAST], ids=["time", "leave_last"])
@pytest.mark.parametrize("lists", [HISTORY, SEQUENCES], ids=["history", "sequences"])
def test_a_build_equals_plain_python(lists: dict[str, Any], split: dict[str, Any], layout: str, tmp_path: Path) -> None:
    table = log_of(seed=len(layout) + len(split))
    output = {"layout": layout, "rows_per_block": 32, "shard_bytes": "6KB"}
    built = build_log(table, tmp_path, split, lists, output=output)
    spec = document("", split, lists)
    reference = REFERENCES["history" if "history" in lists else "sequences"]
    expected = reference(split_of(table.to_pylist(), spec, built), spec, Ids(built, spec))
    for name, rows in expected.items():
        assert Counter(rows_of(built, name)) == rows
    assert verify(built.manifest, str(built.path)) > 30
    account = built.manifest.accounting
    assert account.written == account.read == table.num_rows


def test_accounts_of_sequences_count_events(tmp_path: Path) -> None:
    table = log_of(seed=5)
    built = build_log(table, tmp_path, BY_TIME, SEQUENCES)
    for name, split in built.manifest.splits.items():
        rows = rows_of(built, name)
        assert split.rows == len(rows)
        assert split.source_rows == sum(len(row[1]) for row in rows)
    assert sum(split.source_rows for split in built.manifest.splits.values()) == table.num_rows
    user, item, rating, timestamp = built.manifest.features
    sequences = sum(split.rows for split in built.manifest.splits.values())
    assert (user.role, user.lengths, user.statistics.rows) == ("user", None, sequences)
    assert (item.role, item.lengths, item.statistics.rows) == ("item", "u8", sequences)
    assert (item.statistics.longest, item.statistics.values) == (7, table.num_rows)
    assert timestamp.statistics.smallest == min(table["timestamp"].to_pylist())
    assert rating.dtype == "float32"


def test_histories_of_a_split_by_user_stay_with_the_user(tmp_path: Path) -> None:
    table = log_of(seed=6)
    built = build_log(table, tmp_path, BY_USER, HISTORY)
    rows = table.to_pylist()
    times = {name: {row[3] for row in rows_of(built, name)} for name in ("train", "test")}
    assert len(times["train"] & times["test"]) > 20
    spec = document("", BY_USER, HISTORY)
    written = Counter(row for name in ("train", "test") for row in rows_of(built, name))
    assert written == with_histories({"all": rows}, spec, Ids(built, spec))["all"]


def test_no_event_of_a_later_split_is_in_a_history(tmp_path: Path) -> None:
    built = build_log(log_of(seed=7), tmp_path, LEAVE_LAST, HISTORY)
    seen: set[tuple[Any, ...]] = set()
    later = {name: {row[:2] + row[3:4] for row in rows_of(built, name)} for name in ("validation", "test")}
    for name, forbidden in (("train", later["validation"] | later["test"]), ("validation", later["test"])):
        for user, _, _, _, items, _, times in rows_of(built, name):
            seen.update((user, item, time) for item, time in zip(items, times, strict=True))
        assert len(seen) > 20
        # Users outside the vocabulary share ids, and so may seem to have each other's events.
        assert not {event for event in seen & forbidden if event[0] >= 4}


@pytest.mark.parametrize("lists", [HISTORY, SEQUENCES], ids=["history", "sequences"])
def test_nothing_but_rows_and_seed_decides_the_bytes(
    lists: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.concat_tables([held := log_of(seed=8), held.slice(0, 40)])  # with copies
    expected = shards(build_log(table, tmp_path / "reference", BY_TIME, lists))
    arrangements = [
        # (files, rows per batch, events per partition, values per slice, runner flags)
        (1, 50, 1 << 18, 1 << 22, ("--direct_num_workers=2",)),
        (3, 1 << 20, 60, 100, ("--direct_num_workers=3",)),
    ]
    for number, (files, batch_rows, partition_events, slice_values, flags) in enumerate(arrangements):
        monkeypatch.setattr(parquet, "ROWS_PER_BATCH", batch_rows)
        monkeypatch.setattr(partitions, "EVENTS_PER_PARTITION", partition_events)
        monkeypatch.setattr(gather, "VALUES_PER_SLICE", slice_values)
        shuffled = table.take(pa.array(np.random.default_rng(number).permutation(table.num_rows)))
        paths = write_parquet(shuffled, tmp_path / f"log-{number}", files, batch_rows)
        assert shards(build(document(paths, BY_TIME, lists), tmp_path / f"out-{number}", flags)) == expected


@pytest.mark.parametrize("lists", [HISTORY, SEQUENCES], ids=["history", "sequences"])
def test_dropped_copies_are_in_no_list(lists: dict[str, Any], tmp_path: Path) -> None:
    table = log_of(seed=9)
    rules = {"user_id": COLUMNS["user_id"] | {"vocabulary": {}}, "item_id": COLUMNS["item_id"] | {"vocabulary": {}}}
    columns = {name: rules.get(name, column) for name, column in COLUMNS.items()}
    once = build_log(table, tmp_path / "once", BY_USER, lists, columns=columns)
    changes = {"columns": columns, "duplicates": "drop"}
    twice = build_log(pa.concat_tables([table, table]), tmp_path / "twice", BY_USER, lists, **changes)
    for name in ("train", "test"):
        assert rows_of(twice, name) == rows_of(once, name)
    account = twice.manifest.accounting
    assert (account.read, account.written, account.filtered) == (
        2 * table.num_rows,
        table.num_rows,
        {"duplicate": table.num_rows},
    )
    assert verify(twice.manifest, str(twice.path)) > 30


def test_a_user_of_many_events_is_gathered_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, length, slice_values = 100_000, 50, 60_000
    table = pa.table(
        {
            "user_id": ["hot"] * rows,
            "item_id": np.arange(rows) % 997,
            "rating": np.ones(rows, np.float32),
            "timestamp": np.random.default_rng(1).permutation(rows),
        }
    )
    sizes = []

    def watch(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        sizes.append(int(lengths.sum()))
        return members(starts, lengths)

    monkeypatch.setattr(gather, "VALUES_PER_SLICE", slice_values)
    monkeypatch.setattr(gather, "members", watch)
    lists = {"history": {"key": "user_id", "columns": ["timestamp"], "length": length}}
    built = build_log(table, tmp_path, BY_TIME, lists, output={"rows_per_block": 4096})
    assert max(sizes) <= slice_values
    assert sum(sizes) == sum(min(length, earlier) for earlier in range(rows))
    for row in [row for name in ("train", "test") for row in rows_of(built, name)][::97]:
        assert row[4] == tuple(range(max(0, row[3] - length), row[3]))


def test_list_columns_and_nulls_of_the_source_go_with_their_rows(tmp_path: Path) -> None:
    table = log_of(seed=10)
    tags = [("a",) * (k % 4) for k in range(table.num_rows)]
    prices = [None if k % 3 else k / 2 for k in range(table.num_rows)]
    table = table.append_column("tags", pa.array(tags)).append_column("price", pa.array(prices))
    table = table.append_column("shop", pa.array(["s" if k % 5 else None for k in range(table.num_rows)]))
    columns = {**COLUMNS, "tags": {"vocabulary": {}}, "price": {"dtype": "float32"}, "shop": {"vocabulary": {}}}
    history = {"key": "user_id", "columns": ["shop"], "length": 7}
    built = build_log(table, tmp_path, BY_TIME, {"history": history}, columns=columns)
    assert verify(built.manifest, str(built.path)) > 30
    assert {shop for row in rows_of(built, "train") for shop in row[7]} == {NULL_ID, 3}
    assert built.manifest.features[7].statistics.nulls > 10
    found = Counter((row[4], row[5]) for name in ("train", "test") for row in rows_of(built, name))
    assert found == Counter(((3,) * len(held), price) for held, price in zip(tags, prices, strict=True))


def test_histories_hold_what_transforms_made_of_values(tmp_path: Path) -> None:
    rows = 200
    rng = np.random.default_rng(11)
    table = pa.table({"user_id": ["u"] * rows, "timestamp": rng.permutation(rows), "price": rng.random(rows)})
    columns = {
        "user_id": COLUMNS["user_id"],
        "timestamp": COLUMNS["timestamp"],
        "level": {"from": "price", "transform": {"kind": "bucketise", "quantiles": 8}, "null": "reject"},
        "scaled": {"from": "price", "transform": {"kind": "normalise", "method": "standard"}, "null": "reject"},
    }
    history = {"key": "user_id", "columns": ["level", "scaled"], "length": 3}
    built = build_log(table, tmp_path, BY_TIME, {"history": history}, columns=columns)
    written = sorted((row for name in ("train", "test") for row in rows_of(built, name)), key=lambda row: row[1])
    assert {row[2] for row in written} == set(range(8))
    for at, row in enumerate(written):
        earlier = written[max(0, at - 3) : at]
        assert row[4:] == (tuple(other[2] for other in earlier), tuple(other[3] for other in earlier))
    assert built.manifest.features[4].transform == built.manifest.features[2].transform
    assert verify(built.manifest, str(built.path)) > 30


def test_verify_counts_the_events_of_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = build_log(log_of(seed=12), tmp_path, BY_TIME, SEQUENCES)
    document = json.loads(built.path.read_text())
    for split, change in (("train", 1), ("test", -1)):
        document["splits"][split]["shards"][0]["events"] += change
    built.path.write_text(json.dumps(document))
    assert run("verify", built.path) == 3
    (first, *_) = built.manifest.splits["train"].shards
    said = f"{first.path}: events: found {first.events}, the manifest says {first.events + 1}"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("note", ["events", "gather"])
def test_a_killed_build_goes_on_to_the_same_bytes(note: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    rows = 60_000
    table = pa.table(
        {
            "user_id": [f"u{user}" for user in rng.integers(0, 900, rows)],
            "item_id": rng.integers(0, 500, rows),
            "rating": np.ones(rows, np.float32),
            "timestamp": rng.integers(0, 10**6, rows),
        }
    )
    files = write_parquet(table, tmp_path / "log", files=2, row_group_rows=rows)
    lists = {"history": {"key": "user_id", "columns": ["item_id"], "length": 50}}
    spec = document(files, BY_TIME, lists, output={"rows_per_block": 256})
    out = tmp_path / "out"
    assert Request(spec, out).run_until_there(f"log/.scratch/*/done/{note}/*.json") == -signal.SIGKILL
    assert not list(out.rglob("manifest.json"))
    assert contents(build(spec, out)) == contents(build(spec, tmp_path / "undisturbed"))
