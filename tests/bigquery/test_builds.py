"""Build from BigQuery: go on after a kill, keep a query's result, skip what is built, append what is new."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from emulator import DATASET, Emulator
from front import Front, gives_rows
from logs import PLAIN_COLUMNS, build, contents, plain_log, plain_spec, run, write_parquet, write_spec
from patience import wait_until
from test_read import bigquery_spec

from penstock_dataprep.engine.dofn import THREADS
from penstock_dataprep.verify.dataset import verify
from penstock_shared.errors import UserMistake

# The killed build stages what it has read but for what waits in the threads that validate.
STAGED = 3
READ = STAGED + THREADS
DAYS = READ + 4
SOME = {"user_id": PLAIN_COLUMNS["user_id"], "n": {"from": "n"}, "timestamp": {"role": "time"}}


def asked(front: Front) -> list[str]:
    """Return the restrictions of the sessions that were to give rows."""
    return [session.read_options.row_restriction for session in front.sessions if gives_rows(session)]


def moments(front: Front) -> set[object]:
    """Return the snapshot times of the sessions that were to give rows; the check before a build may have none."""
    return {session.table_modifiers.snapshot_time for session in front.sessions} - {None}


def finished(out: Path) -> set[str]:
    """Return the names of the ranges that are read and staged; each is one piece."""
    notes = {step: out.glob(f"log/.scratch/*/done/{step}/*.json") for step in ("read", "stage")}
    return {path.stem for path in notes["read"]} & {path.stem.partition("-")[0] for path in notes["stage"]}


def test_a_killed_build_goes_on_from_the_ranges_that_were_staged(
    front: Front, emulator: Emulator, tmp_path: Path
) -> None:
    log = plain_log(400 * DAYS, seed=11)
    of_files = build(plain_spec(write_parquet(log, tmp_path / "log")), tmp_path / "files")
    days = pa.array(np.arange(log.num_rows) // 400 + 20_000, pa.int32()).cast(pa.date32())
    table = emulator.load("killed", log.append_column("day", days), partitioned_by="day")
    document = bigquery_spec(table, bigquery={"table": table, "rows_per_range": 400})
    front.sessions_given = READ
    spec, out = write_spec(tmp_path / "spec.yaml", document), tmp_path / "datasets"
    command = [sys.executable, "-m", "penstock_dataprep.cli", "build", spec, "--out", str(out)]
    building = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(lambda: len(finished(out)) >= STAGED and front.held, building)
    building.send_signal(signal.SIGKILL)
    building.communicate()
    wait_until(lambda: front.gone == front.held)
    assert not list(out.rglob("manifest.json"))
    assert len(asked(front)) == READ
    (moment,) = moments(front)
    front.reset()
    built = build(document, out)
    assert len(asked(front)) == DAYS + 1 - STAGED  # There is a range of nulls.
    assert moments(front) == {moment}
    assert contents(built) == contents(of_files)
    verify(built.manifest, str(built.path))


def test_a_query_is_run_once_and_kept_for_some_days(
    front: Front, emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.load("queried", plain_log(900, seed=12))
    query = f"SELECT user_id, COUNT(*) AS n, MAX(timestamp) AS timestamp FROM `{DATASET}.queried` GROUP BY user_id;"
    document = bigquery_spec("", SOME, bigquery={"query": query, "dataset": DATASET})
    built = build(document, tmp_path / "one")
    source = built.manifest.source
    assert (source.query, source.rows) == (query, built.manifest.accounting.read)
    assert 100 < source.rows <= 200
    kept = emulator.client.get_table(source.table)
    again = build(document, tmp_path / "two")
    assert contents(again) == contents(built)
    assert again.manifest.source.table == source.table
    assert emulator.client.get_table(source.table).created == kept.created
    assert run("show", built.path) == 0
    assert f"BigQuery: the result of a query in {source.table}" in capsys.readouterr().out


def test_a_table_that_changed_makes_another_version_and_one_that_did_not_is_skipped(
    front: Front, emulator: Emulator, tmp_path: Path
) -> None:
    table = emulator.load("changing", plain_log(400, seed=13))
    first = build(bigquery_spec(table), tmp_path)
    front.reset()
    assert build(bigquery_spec(table), tmp_path).reused
    assert asked(front) == []
    emulator.load("changing", plain_log(100, seed=14))
    second = build(bigquery_spec(table), tmp_path)
    assert (second.manifest.accounting.read, second.reused) == (500, False)
    assert second.manifest.version != first.manifest.version


def test_a_snapshot_is_the_same_whatever_comes_later(front: Front, emulator: Emulator, tmp_path: Path) -> None:
    table = emulator.load("pinned", plain_log(400, seed=15))
    time.sleep(0.01)
    moment = str(emulator.sql("SELECT CURRENT_TIMESTAMP() AS now")[0]["now"])
    document = bigquery_spec(table, bigquery={"table": table, "snapshot_time": moment})
    first = build(document, tmp_path)
    assert first.manifest.source.snapshot_time == moment.replace(" ", "T")
    emulator.load("pinned", plain_log(100, seed=16))
    assert build(document, tmp_path).reused


def test_a_day_is_appended_by_where_and_not_twice(front: Front, emulator: Emulator, tmp_path: Path) -> None:
    log = plain_log(1000, seed=17)
    table = emulator.load("days", log)
    middle = sorted(log["timestamp"].to_pylist())[500]
    days = [f"timestamp < {middle}", f"timestamp >= {middle}"]
    documents = [bigquery_spec(table, bigquery={"table": table, "where": where}) for where in days]
    first = build(documents[0], tmp_path)
    second = build(documents[1], tmp_path, append_to=first)
    assert second.manifest.accounting.read == 1000
    with pytest.raises(
        UserMistake, match=f"version {second.manifest.version} has read the same table, query and where"
    ):
        build({**documents[1], "max_reject_fraction": 0.04}, tmp_path, append_to=second)


def test_rejected_rows_name_the_table(front: Front, emulator: Emulator, tmp_path: Path) -> None:
    log = plain_log(200, seed=18)
    table = emulator.load("rejected", log)
    document = bigquery_spec(table, {**PLAIN_COLUMNS, "rating": {**PLAIN_COLUMNS["rating"], "range": [0, 4.5]}})
    built = build({**document, "max_reject_fraction": 0.5}, tmp_path)
    (entry,) = built.manifest.rejects
    rows = pq.read_table(built.base / entry.path).to_pylist()
    assert len(rows) == sum(value > 4.5 for value in log["rating"].to_pylist()) > 0
    assert {row["file"] for row in rows} == {table}


def test_an_entity_table_comes_from_bigquery(front: Front, emulator: Emulator, tmp_path: Path) -> None:
    log = plain_log(500, seed=19)
    users = sorted(set(log["user_id"].to_pylist()))
    emulator.load("users", pa.table({"user_id": users, "age": [float(user % 70) for user in users]}))
    table = emulator.load("log_of_users", log)
    source = {"bigquery": {"table": f"{DATASET}.users"}}
    tables = {"user_id": {"source": source, "key": "user_id", "columns": {"age": {"dtype": "float32"}}}}
    built = build(bigquery_spec(table, tables=tables), tmp_path)
    held = built.manifest.tables["user_id"]
    assert (held.source.table, held.accounting.read) == (f"{DATASET}.users", len(users))
