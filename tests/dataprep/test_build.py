"""Hold real Beam builds to the contract: the right rows, in an order that only the rows and the seed decide."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from logs import (
    RICH_COLUMNS,
    TEST_FRACTION,
    Built,
    build,
    contents,
    id_of,
    left_behind,
    plain_log,
    plain_spec,
    ranked,
    rich_log,
    rich_spec,
    rows_of,
    shard_columns,
    vocabulary_tokens,
    write_parquet,
)

from penstock_dataprep.sources import parquet
from penstock_dataprep.verify.dataset import verify

LOG_ROWS = 3000
ONE_WORKER = ("--direct_num_workers=1", "--direct_running_mode=in_memory")


@pytest.fixture(scope="module")
def log() -> pa.Table:
    return rich_log(LOG_ROWS, seed=3)


@pytest.fixture(scope="module")
def reference(log: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("reference")
    return build(rich_spec(write_parquet(log, folder / "log")), folder / "datasets", ONE_WORKER)


def best_cut(times: list[int]) -> int:
    """Return the time, not the first, from which on the share of rows is nearest to the test fraction."""
    counts = sorted(Counter(times).items())
    best, left = (2.0, 0), len(times) - counts[0][1]
    for time, count in counts[1:]:
        best = min(best, (abs(left / len(times) - TEST_FRACTION), time))
        left -= count
    return best[1]


def expected_rows(table: pa.Table) -> tuple[dict[str, Counter], dict[str, list]]:
    """Map a rich log in plain Python: return (multiset of rows by split, ranked tokens by vocabulary)."""
    valid = [row for row in table.to_pylist() if row["rating"] == row["rating"] and row["rating"] <= 5]
    cut = best_cut([row["timestamp"] for row in valid])
    train = [row for row in valid if row["timestamp"] < cut]
    rankings = {
        "user_id": ranked([row["user_id"] for row in train]),
        "item_id": ranked(
            [token for row in train for token in [row["item_id"], *(row["history"] or [])]],
            min_count=RICH_COLUMNS["item_id"]["vocabulary"]["min_count"],
        ),
    }
    places = {name: {token: rank for rank, (token, _) in enumerate(pairs)} for name, pairs in rankings.items()}
    rows: dict[str, Counter] = {"train": Counter(), "test": Counter()}
    for row in valid:
        rows["test" if row["timestamp"] >= cut else "train"][
            (
                id_of(row["user_id"], places["user_id"], 3),
                id_of(row["item_id"], places["item_id"], 2),
                tuple(id_of(token, places["item_id"], 2) for token in row["history"] or []),
                row["rating"],
                None if row["price"] is None else float(np.float32(row["price"])),
                row["stock"],
                tuple(row["scores"]),
                row["timestamp"],
            )
        ] += 1
    return rows, rankings


def test_shards_hold_exactly_the_valid_rows_mapped(rich_build: tuple[pa.Table, Built]) -> None:
    table, built = rich_build
    rows, rankings = expected_rows(table)
    for split in ("train", "test"):
        assert Counter(rows_of(built, split)) == rows[split]
    for name, pairs in rankings.items():
        assert vocabulary_tokens(built, name) == pairs
    assert all(feature.statistics.oov > 50 for feature in built.manifest.features[:3])


def test_accounts_balance_and_claims_hold(rich_build: tuple[pa.Table, Built]) -> None:
    table, built = rich_build
    account, rating = built.manifest.accounting, table["rating"].to_numpy()
    assert account.read == table.num_rows
    assert account.rejected == {"rating null": int(np.isnan(rating).sum()), "rating range": int((rating > 5).sum())}
    assert account.written == account.read - sum(account.rejected.values())
    assert verify(built.manifest, str(built.path)) > 100
    assert left_behind(built.base / ".scratch") == []


def test_the_same_rows_in_another_arrangement_give_the_same_bytes(
    log: pa.Table, reference: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrangements = [
        # (files, row group rows, rows per batch, runner flags)
        (1, 97, 100, ("--direct_num_workers=2",)),
        (7, 1000, 1 << 20, ("--direct_num_workers=3",)),
        (3, 50, 333, ("--direct_num_workers=2", "--direct_running_mode=in_memory")),
        (2, 3000, 64, ("--runner=FnApiRunner", "--direct_num_workers=1")),
    ]
    for number, (files, row_group_rows, batch_rows, flags) in enumerate(arrangements):
        monkeypatch.setattr(parquet, "ROWS_PER_BATCH", batch_rows)
        shuffled = log.take(pa.array(np.random.default_rng(number).permutation(log.num_rows)))
        paths = write_parquet(shuffled, tmp_path / f"log-{number}", files, row_group_rows)
        built = build(rich_spec(paths), tmp_path / f"datasets-{number}", flags)
        assert contents(built) == contents(reference)
        assert built.manifest.digest == reference.manifest.digest
        assert built.manifest.features == reference.manifest.features
        assert built.manifest.accounting == reference.manifest.accounting
        assert built.manifest.shuffle == reference.manifest.shuffle


def test_examples_hold_the_rows_of_blocks_in_their_order(log: pa.Table, reference: Built, tmp_path: Path) -> None:
    files = reference.manifest.source.files[0].path
    # The rows of an Example take more bytes, but the number of shards follows the storage widths alone.
    built = build(
        rich_spec([files], output={"layout": "examples", "rows_per_block": 64, "shard_bytes": "50KB"}), tmp_path
    )
    for split in ("train", "test"):
        assert rows_of(built, split) == rows_of(reference, split)
    assert verify(built.manifest, str(built.path)) > 100


def test_another_seed_gives_another_order_of_the_same_rows(log: pa.Table, reference: Built, tmp_path: Path) -> None:
    files = [file.path for file in reference.manifest.source.files]
    built = build(rich_spec(files, shuffle={"seed": 18}), tmp_path)
    ours, theirs = rows_of(built, "train"), rows_of(reference, "train")
    assert Counter(ours) == Counter(theirs)
    same_place = sum(a == b for a, b in zip(ours, theirs, strict=True))
    assert same_place < 20


def test_order_says_nothing_of_time(reference: Built) -> None:
    times = np.array([row[-1] for row in rows_of(reference, "train")], np.float64)
    n = len(times)
    serial = np.corrcoef(times[1:], times[:-1])[0, 1]
    with_place = np.corrcoef(times, np.arange(n))[0, 1]
    assert abs(serial) < 4 / np.sqrt(n)
    assert abs(with_place) < 4 / np.sqrt(n)
    assert reference.manifest.shuffle.certificate.passes


def test_blocks_and_shards_are_as_large_as_asked(rich_build: tuple[pa.Table, Built]) -> None:
    _, built = rich_build
    split = built.manifest.splits["train"]
    assert len(split.shards) > 3
    for shard in split.shards:
        assert shard.blocks == -(-shard.rows // 64)
        assert shard.bytes < 60_000
    rows = np.array([shard.rows for shard in split.shards])
    assert (np.abs(rows - rows.mean()) < 5 * np.sqrt(rows.mean())).all()
    assert [len(columns[0]) for columns in shard_columns(built, "train")] == rows.tolist()


def test_a_second_build_does_nothing(tmp_path: Path) -> None:
    document = plain_spec(write_parquet(plain_log(500, seed=1), tmp_path / "log"))
    first = build(document, tmp_path / "datasets")
    before = {path: path.stat().st_mtime_ns for path in first.base.rglob("*")}
    second = build(document, tmp_path / "datasets")
    assert (first.reused, second.reused) == (False, True)
    assert second.path == first.path
    assert {path: path.stat().st_mtime_ns for path in first.base.rglob("*")} == before


def test_another_spec_or_source_is_another_version(tmp_path: Path) -> None:
    files = write_parquet(plain_log(500, seed=1), tmp_path / "log")
    versions = [build(plain_spec(files), tmp_path / "datasets").manifest.version]
    versions.append(build(plain_spec(files, shuffle={"seed": 1}), tmp_path / "datasets").manifest.version)
    write_parquet(plain_log(501, seed=2), tmp_path / "log")
    versions.append(build(plain_spec(files), tmp_path / "datasets").manifest.version)
    assert len(set(versions)) == 3
    assert sorted(path.name for path in (tmp_path / "datasets" / "log").iterdir()) == sorted(versions)


@pytest.mark.parametrize("split", [{"by": "time", "test_fraction": 0.1}, {"by": "leave_last", "n": 1}])
def test_duplicates_are_kept_or_dropped(tmp_path: Path, split: dict) -> None:
    log = plain_log(1000, seed=4)
    log = pa.concat_tables([log, log.slice(0, 100), log.slice(50, 100)])
    files = write_parquet(log, tmp_path / "log", files=2)
    kept = build(plain_spec(files, split=split), tmp_path / "kept")
    dropped = build(plain_spec(files, split=split, duplicates="drop"), tmp_path / "dropped")
    distinct = len(set(map(tuple, (row.values() for row in log.to_pylist()))))
    assert kept.manifest.accounting.written == log.num_rows
    assert dropped.manifest.accounting.written == distinct
    assert dropped.manifest.accounting.filtered == {"duplicate": log.num_rows - distinct}
    for built in (kept, dropped):
        verify(built.manifest, str(built.path))
    rows = rows_of(dropped, "train") + rows_of(dropped, "test")
    assert len(rows) == distinct
    if split["by"] == "time":
        assert {row for part in ("train", "test") for row in rows_of(kept, part)} == set(rows)


def test_copies_are_no_neighbours_beyond_chance(tmp_path: Path) -> None:
    # 20 rows, 150 copies of each: with k copies of each among n rows, chance expects n/k * k(k-1)/n equal neighbours.
    base = plain_log(20, seed=5)
    log = pa.concat_tables([base] * 150)
    built = build(plain_spec(write_parquet(log, tmp_path / "log"), output={"rows_per_block": 4096}), tmp_path / "out")
    rows = rows_of(built, "train")
    counts = Counter(rows)
    expected = sum(k * (k - 1) / len(rows) for k in counts.values())
    neighbours = sum(a == b for a, b in zip(rows[1:], rows[:-1], strict=True))
    assert abs(neighbours - expected) < 5 * np.sqrt(expected)


def test_all_null_columns_and_negative_times_build(tmp_path: Path) -> None:
    log = plain_log(300, seed=6)
    log = log.append_column("tag", pa.nulls(300, pa.string())).append_column("size", pa.nulls(300, pa.float64()))
    log = log.set_column(3, "timestamp", pa.array(np.arange(300) * 10**15 - 2**62))
    document = plain_spec(write_parquet(log, tmp_path / "log", files=3))
    document["columns"] = {**document["columns"], "tag": {"vocabulary": {}}, "size": {}}
    built = build(document, tmp_path / "out")
    assert verify(built.manifest, str(built.path)) > 30
    assert built.manifest.vocabularies["tag"].tokens == 0
    assert {row[4:] for row in rows_of(built, "train")} == {(1, None)}
    assert (
        sorted(row[3] for split in ("train", "test") for row in rows_of(built, split)) == log["timestamp"].to_pylist()
    )


def test_a_hashed_vocabulary_has_buckets_only(tmp_path: Path) -> None:
    log = plain_log(400, seed=7)
    document = plain_spec(write_parquet(log, tmp_path / "log"))
    document["columns"] = {
        **document["columns"],
        "item_id": {"role": "item", "vocabulary": {"encoding": "hash", "oov_buckets": 50}},
    }
    built = build(document, tmp_path / "out")
    held = built.manifest.vocabularies["item_id"]
    assert (held.tokens, held.size, held.shards) == (0, 52, ())
    expected = Counter(id_of(token, {}, 50) for token in log["item_id"].to_pylist())
    assert Counter(row[1] for split in ("train", "test") for row in rows_of(built, split)) == expected
    assert built.manifest.features[1].statistics.oov == 400
    verify(built.manifest, str(built.path))
