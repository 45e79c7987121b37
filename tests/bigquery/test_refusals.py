"""Refuse, before the job and in one line, what BigQuery would refuse or the spec gets wrong."""

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from emulator import DATASET, Emulator
from emulators.ports import held_ports
from front import NO_ROWS, Front
from google.cloud.bigquery import SchemaField, Table
from logs import left_behind, plain_log, run, write_spec
from test_read import bigquery_spec

from penstock_dataprep.sources.bigquery import clients
from penstock_dataprep.sources.bigquery.volatile import volatile
from penstock_dataprep.spec.spec import load_spec
from penstock_shared.errors import UserMistake

COLUMNS: dict[str, Any] = {"user_id": {"role": "user", "vocabulary": {}}, "timestamp": {"role": "time"}}


@pytest.fixture(scope="module")
def table(emulator: Emulator) -> str:
    event = pa.array([{"item": "a"}] * 40, pa.struct([("item", pa.string())]))
    return emulator.load("refused", plain_log(40, seed=1).append_column("event", event))


def refused(document: dict, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a build says on standard error that ends as a mistake of the user."""
    code = run("build", write_spec(out / "spec.yaml", document), "--out", out / "datasets")
    said = capsys.readouterr().err
    assert code == 2, said
    assert "Traceback" not in said
    assert left_behind(out / "datasets") == []
    return said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"table": f"{DATASET}.nowhere"}, f"source.bigquery.table: {DATASET}.nowhere: not found"),
        ({"table": "test.nowhere.log"}, "source.bigquery.table: test.nowhere.log: not found"),
        ({"table": "{table}", "where": "nope > 3"}, "source.bigquery: .* where nope > 3"),
        ({"query": "SELECT user_id FROM shop.nowhere", "dataset": DATASET}, "source.bigquery.query: the query: not fo"),
        ({"query": "SELECT FROM WHERE", "dataset": DATASET}, "source.bigquery.query: the query: BigQuery refused it"),
        ({"query": "SELECT RAND() AS x", "dataset": DATASET}, "source.bigquery.query: RAND gives other rows each time"),
        ({"table": "{table}", "where": "day > CURRENT_DATE()"}, "source.bigquery.where: CURRENT_DATE gives other rows"),
    ],
)
def test_what_is_not_there(
    front: Front, table: str, source: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {key: value.replace("{table}", table) for key, value in source.items()}
    said = refused(bigquery_spec(table, COLUMNS, bigquery=source), tmp_path, capsys)
    assert re.search(message, said), said


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT * FROM t WHERE day > DATE_SUB(CURRENT_DATE(), INTERVAL 7 DAY)", "CURRENT_DATE"),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF current_timestamp", "CURRENT_TIMESTAMP"),
        ("SELECT * FROM t WHERE rand () < 0.1", "RAND"),
        ("SELECT * FROM t TABLESAMPLE SYSTEM (10 PERCENT)", "TABLESAMPLE"),
        ("SELECT 'it\\'s CURRENT_DATE', \"RAND()\", `current_date` -- RAND()\nFROM t # TABLESAMPLE", None),
        ("SELECT rand, current_dates /* RAND()\n */ FROM grand", None),
        ("SELECT '''a 'b' RAND()''' FROM t WHERE CURRENT_TIME < x", "CURRENT_TIME"),
    ],
)
def test_a_query_that_gives_other_rows_each_time_is_told_from_others(query: str, expected: str | None) -> None:
    assert volatile(query) == expected


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"from": "user"}, "columns.x: no column 'user' in {table}; did you mean 'user_id'?"),
        ({"from": "event"}, "columns.x: 'event' has type STRUCT in {table}: take one of its fields: event.item"),
        ({"from": "event.itm"}, "columns.x: no column 'event.itm' in {table}; did you mean 'event.item'?"),
        ({"from": "$row"}, "columns.x: rows of a table have no place, so there is no $row; take a time"),
    ],
)
def test_columns_that_cannot_be_taken(
    front: Front, table: str, column: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = bigquery_spec(table, {**COLUMNS, "x": {"dtype": "int64", **column}})
    assert message.format(table=table) in refused(document, tmp_path, capsys)
    assert all(stream.endswith(NO_ROWS) for stream, _ in front.reads)


def test_every_column_that_cannot_be_read_is_named(
    front: Front, emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{DATASET}.odd"
    fields = [SchemaField("user_id", "INT64"), SchemaField("timestamp", "INT64"), SchemaField("wait", "INTERVAL")]
    emulator.client.create_table(Table(name, schema=[*fields, SchemaField("open", "RANGE", range_element_type="DATE")]))
    said = refused(bigquery_spec(name, {**COLUMNS, "wait": {}, "open": {}}), tmp_path, capsys)
    assert f"columns.wait: 'wait' has type INTERVAL in {name}: read a query that takes a number of it" in said
    assert f"columns.open: 'open' has type RANGE in {name}: read a query that takes RANGE_START(open)" in said


@pytest.mark.parametrize("denied", ["create", "read"])
def test_a_missing_permission_of_the_read_api(
    front: Front, table: str, denied: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front.denied = denied
    said = refused(bigquery_spec(table, COLUMNS), tmp_path, capsys)
    assert f"{table}: permission denied: " in said
    assert "the account needs the roles BigQuery Data Viewer on the table's dataset" in said


class _Forbidding(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        fault = {"error": {"code": 403, "message": "Access Denied: User does not have bigquery.tables.get"}}
        content = json.dumps(fault).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def forbidding() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Forbidding)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_missing_permission_to_see_the_table(
    front: Front,
    forbidding: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", forbidding)
    said = refused(bigquery_spec("test.shop.secret", COLUMNS), tmp_path, capsys)
    assert "source.bigquery.table: test.shop.secret: permission denied: " in said
    assert "Access Denied" in said


@pytest.mark.parametrize(
    "source", [{"table": "test.shop.far"}, {"query": "SELECT user_id, timestamp FROM shop.far", "dataset": DATASET}]
)
def test_who_cannot_be_reached_is_not_waited_for_long(
    source: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
    monkeypatch.setattr(clients, "FIRST_ANSWER", clients.FIRST_ANSWER.with_timeout(0.1))
    with held_ports(1) as (port,):
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        assert run("plan", write_spec(tmp_path / "spec.yaml", bigquery_spec("", COLUMNS, bigquery=source))) == 1
    said = capsys.readouterr().err
    assert re.match(
        r"penstock-data: source.bigquery.(table: test.shop.far|query: the query): Timeout of 0.1s exceeded", said
    )


def test_views_are_read_by_a_query(
    front: Front, emulator: Emulator, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.sql(f"CREATE VIEW `{DATASET}.viewed` AS SELECT * FROM `{table}`")
    said = refused(bigquery_spec(f"{DATASET}.viewed", COLUMNS), tmp_path, capsys)
    assert f"{DATASET}.viewed is a VIEW, which the Storage API cannot read; give query: SELECT" in said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "expected exactly one of files and bigquery"),
        ({"files": "x", "format": "csv", "bigquery": {"table": "p.d.t"}}, "expected exactly one of files and bigquery"),
        ({"files": "x"}, "expected format: parquet, csv or jsonl, for files do not tell theirs"),
        ({"bigquery": {"table": "p.d.t"}, "format": "csv"}, "expected no format with bigquery"),
        ({"bigquery": {}}, "source.bigquery: found {}, expected exactly one of table and query"),
        ({"bigquery": {"tabel": "p.d.t"}}, "source.bigquery.tabel: unknown key 'tabel'; did you mean 'table'?"),
        ({"bigquery": {"table": "d.t"}}, "expected table: project.dataset.table, found 'd.t'"),
        ({"bigquery": {"table": "p.d.t", "query": "SELECT 1"}}, "expected exactly one of table and query"),
        ({"bigquery": {"query": "SELECT 1"}}, "expected dataset: the project.dataset to keep the result of the query"),
        ({"bigquery": {"query": "SELECT 1", "dataset": "p.d", "where": "x"}}, "expected no where with a query"),
        ({"bigquery": {"query": "SELECT 1", "dataset": "p.d", "snapshot_time": "2026-01-01"}}, "no snapshot_time with"),
        ({"bigquery": {"table": "p.d.t", "snapshot_time": "2026-01-01 00:00:00"}}, "a moment with its offset"),
        ({"bigquery": {"table": "p.d.t", "rows_per_range": 0}}, "source.bigquery.rows_per_range: found 0"),
    ],
)
def test_specs_that_cannot_work(source: dict, message: str) -> None:
    document = bigquery_spec("p.d.t", COLUMNS)
    with pytest.raises(UserMistake) as refusal:
        load_spec("spec.yaml", json.dumps({**document, "source": source}))
    assert message in str(refusal.value)
