"""Hold the BigQuery source to the rows of a table: every row once, whatever breaks, at the moment it was pinned to."""

import datetime
import time
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pytest
import yaml
from emulator import Emulator
from front import Front
from logs import PLAIN_COLUMNS, build, contents, plain_log, plain_spec, spec_of, write_parquet

from penstock_dataprep.sources import SOURCES
from penstock_dataprep.sources.bigquery import session
from penstock_dataprep.sources.bigquery.table import after_change
from penstock_dataprep.spec.spec import load_spec
from penstock_dataprep.storage.scratch import Scratch
from penstock_shared.errors import PenstockError

ROWS = 50_000  # more than a megabyte, below which the emulator gives one stream


def bigquery_spec(table: str, columns: dict | None = None, **changes: object) -> dict:
    """Return the spec of a log in a table."""
    source = changes.pop("bigquery", {"table": table})
    return {**spec_of("", columns or PLAIN_COLUMNS, **changes), "source": {"bigquery": source}}


@pytest.fixture(scope="module")
def log() -> pa.Table:
    return plain_log(ROWS, seed=3)


@pytest.fixture(scope="module")
def table(emulator: Emulator, log: pa.Table) -> str:
    return emulator.load("log", log)


def read(document: dict, columns: list[str], tmp_path: Path) -> tuple[pa.Table, list[int]]:
    """Return all rows that a spec's source gives, and the rows of each piece."""
    origin, _ = SOURCES["bigquery"](load_spec("spec.yaml", yaml.safe_dump(document, sort_keys=False)))
    origin = origin.pinned(Scratch(str(tmp_path / "scratch")), "log")
    batches = [piece.decode().batch for unit in origin.units for piece in origin.read(unit, columns)]
    return pa.Table.from_batches(batches), [batch.num_rows for batch in batches]


def rows_of(table: pa.Table) -> list[tuple]:
    return sorted(zip(*(table.column(name).to_pylist() for name in sorted(table.column_names)), strict=True))


def test_a_table_of_many_streams_gives_the_bytes_of_its_files(
    front: Front, table: str, log: pa.Table, tmp_path: Path
) -> None:
    of_files = build(plain_spec(write_parquet(log, tmp_path / "log", files=3)), tmp_path / "files")
    began = datetime.datetime.now(datetime.timezone.utc)
    of_table = build(bigquery_spec(table), tmp_path / "table")
    assert contents(of_table) == contents(of_files)
    assert of_table.manifest.digest == of_files.manifest.digest
    assert len({stream for stream, _ in front.reads if not stream.endswith("none")}) > 3
    source = of_table.manifest.source
    assert (source.kind, source.table, source.rows) == ("bigquery", table, ROWS)
    assert source.columns == {"user_id": "INT64", "item_id": "STRING", "rating": "FLOAT64", "timestamp": "INT64"}
    taken = datetime.datetime.fromisoformat(source.snapshot_time)
    assert began <= taken <= datetime.datetime.now(datetime.timezone.utc)
    assert build(bigquery_spec(table), tmp_path / "table").reused


def test_a_slow_clock_does_not_pin_a_table_before_its_last_change() -> None:
    """The emulator does not tell changes of a table, only when it was made."""
    changed = datetime.datetime(2026, 11, 20, 12, 0, 0, 123_000, tzinfo=datetime.timezone.utc)
    millisecond, minute = datetime.timedelta(milliseconds=1), datetime.timedelta(minutes=1)
    assert after_change(changed - minute, changed) == changed + millisecond
    assert after_change(changed, changed) == changed + millisecond
    assert after_change(changed + minute, changed) == changed + minute
    assert after_change(changed, None) == changed


def test_only_taken_columns_are_read_and_come_compressed(front: Front, table: str, tmp_path: Path) -> None:
    found, _ = read(bigquery_spec(table), ["item_id", "user_id"], tmp_path)
    assert found.num_rows == ROWS
    assert set(front.sessions[-1].read_options.selected_fields) == {"item_id", "user_id"}
    assert front.codecs == {"lz4"}


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
def test_a_stream_that_breaks_goes_on_at_its_offset(
    front: Front, table: str, log: pa.Table, tmp_path: Path, code: grpc.StatusCode
) -> None:
    front.code, front.breaks, front.after = code, 12, 3
    found, _ = read(bigquery_spec(table), ["timestamp", "user_id"], tmp_path)
    assert rows_of(found) == rows_of(log.select(["timestamp", "user_id"]))
    assert sum(offset > 0 for _, offset in front.reads) == 12
    assert len([asked for asked in front.sessions if "FALSE" not in asked.read_options.row_restriction]) == 1


def test_a_stream_that_never_gives_rows_is_given_up(
    front: Front, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LONGEST_PAUSE_SECONDS", 0.001)
    front.breaks, front.after = 10**6, 0
    with pytest.raises(PenstockError, match="the connection broke, on purpose; run the same command again"):
        read(bigquery_spec(table), ["user_id"], tmp_path)
    assert len(front.reads) <= session.ATTEMPTS_WITHOUT_ROWS * session.STREAMS_PER_SESSION + 1


def test_an_expired_session_is_opened_again_and_doubles_no_row(
    front: Front, table: str, log: pa.Table, tmp_path: Path
) -> None:
    front.expiring, front.after = 2, 4
    found, _ = read(bigquery_spec(table), ["timestamp", "user_id"], tmp_path)
    assert rows_of(found) == rows_of(log.select(["timestamp", "user_id"]))
    opened = [asked for asked in front.sessions if "FALSE" not in asked.read_options.row_restriction]
    assert len(opened) == 3
    assert len({asked.table_modifiers.snapshot_time for asked in opened}) == 1


def test_a_range_whose_sessions_all_expire_is_given_up(front: Front, table: str, tmp_path: Path) -> None:
    front.expiring = 100
    with pytest.raises(PenstockError, match=r"4 sessions expired before it was read; .* lower rows_per_range"):
        read(bigquery_spec(table), ["user_id"], tmp_path)


def test_rows_that_came_after_the_snapshot_are_not_read(front: Front, emulator: Emulator, tmp_path: Path) -> None:
    name = emulator.load("growing", plain_log(500, seed=1))
    time.sleep(0.01)
    moment = datetime.datetime.now(datetime.timezone.utc)
    time.sleep(0.01)
    emulator.load("growing", plain_log(300, seed=2))
    then = bigquery_spec(name, bigquery={"table": name, "snapshot_time": moment.isoformat()})
    assert read(then, ["user_id"], tmp_path / "then")[0].num_rows == 500
    assert read(bigquery_spec(name), ["user_id"], tmp_path / "now")[0].num_rows == 800
    # What was pinned stays, in all attempts of one build.
    emulator.load("growing", plain_log(100, seed=4))
    assert read(bigquery_spec(name), ["user_id"], tmp_path / "now")[0].num_rows == 800


def test_where_is_left_to_bigquery(front: Front, table: str, log: pa.Table, tmp_path: Path) -> None:
    where = "user_id > 0 AND rating >= 2.5"
    found, _ = read(bigquery_spec(table, bigquery={"table": table, "where": where}), ["user_id", "rating"], tmp_path)
    kept = [row for row in rows_of(log.select(["rating", "user_id"])) if row[1] > 0 and row[0] >= 2.5]
    assert 0 < len(kept) < ROWS
    assert rows_of(found) == kept
    assert front.sessions[-1].read_options.row_restriction == f"({where})"


def test_partitions_are_read_in_sessions_of_their_own(front: Front, emulator: Emulator, tmp_path: Path) -> None:
    rows = 4000
    days = pa.array(np.arange(rows) // 500 + 20_000, pa.int32()).cast(pa.date32())
    log = plain_log(rows, seed=5).append_column("day", days)
    nulls = pa.array([None] * 7, pa.date32())
    log = pa.concat_tables([log, plain_log(7, seed=6).append_column("day", nulls)])
    name = emulator.load("by_day", log, partitioned_by="day")
    document = bigquery_spec(name, bigquery={"table": name, "rows_per_range": 1000})
    found, pieces = read(document, ["timestamp", "user_id"], tmp_path)
    assert rows_of(found) == rows_of(log.select(["timestamp", "user_id"]))
    assert sorted(pieces) == [7, 1000, 1000, 1000, 1000]
    restrictions = [asked.read_options.row_restriction for asked in front.sessions]
    assert "(`day` IS NULL)" in restrictions
    assert any(text.startswith("(`day` >= DATE '20") and " AND `day` < DATE '20" in text for text in restrictions)


def test_a_table_without_partitions_is_cut_by_a_hash(front: Front, emulator: Emulator, tmp_path: Path) -> None:
    log = plain_log(1000, seed=7)
    users = log["user_id"].to_pylist()
    users[::50] = [None] * len(users[::50])
    log = log.set_column(0, "user_id", pa.array(users, pa.int64()))
    name = emulator.load("unpartitioned", log)
    document = bigquery_spec(name, bigquery={"table": name, "rows_per_range": 10})
    found, pieces = read(document, ["timestamp", "item_id"], tmp_path)
    assert rows_of(found) == rows_of(log.select(["timestamp", "item_id"]))
    assert len(pieces) == 5
    assert all(50 < rows < 500 for rows in pieces)
