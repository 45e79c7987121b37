"""Plan builds from BigQuery: sizes from metadata and dry runs, a bounded sample, and what BigQuery would refuse."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from emulator import DATASET, Emulator
from front import Front
from logs import build, left_behind, plain_log, run, write_spec
from test_read import bigquery_spec

ROWS = 3000


@pytest.fixture(scope="module")
def table(emulator: Emulator) -> str:
    log = plain_log(ROWS, seed=21)
    event = pa.array([{"item": item} for item in log["item_id"].to_pylist()], pa.struct([("item", pa.string())]))
    return emulator.load("planned", log.append_column("event", event))


def planned(document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    spec = write_spec(tmp_path / "spec.yaml", document)
    assert run("plan", spec, "--out", tmp_path / "datasets", "--json") == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert left_behind(tmp_path / "datasets") == []
    return {**found, "values": {line["name"]: line["value"] for line in found["estimates"]}}


def test_a_table(front: Front, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {
        "user_id": {"role": "user", "vocabulary": {}},
        "item_id": {"from": "event.item", "role": "item", "vocabulary": {}},
        "timestamp": {"role": "time"},
    }
    plan = planned(bigquery_spec(table, columns), tmp_path, capsys)
    assert plan["values"]["rows read"] == ROWS
    assert plan["values"]["vocabulary user_id"] == 200
    assert any(f"{ROWS:,} rows were read as a sample" in check for check in plan["checks"])
    assert any("nullable in the source" in warning for warning in plan["warnings"])
    restricted = bigquery_spec(table, columns, bigquery={"table": table, "where": "timestamp < 0"})
    plan = planned(restricted, tmp_path, capsys)
    assert "at most" in plan["estimates"][0]["how"]


def test_a_query_is_dry_run_and_not_run(
    front: Front, emulator: Emulator, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = f"SELECT user_id, COUNT(*) AS n, MAX(timestamp) AS timestamp FROM `{table}` GROUP BY user_id"
    columns = {"user_id": {"role": "user", "vocabulary": {}}, "n": {}, "timestamp": {"role": "time"}}
    tables = {one.table_id for one in emulator.client.list_tables(DATASET)}
    plan = planned(bigquery_spec("", columns, bigquery={"query": query, "dataset": DATASET}), tmp_path, capsys)
    assert {one.table_id for one in emulator.client.list_tables(DATASET)} == tables
    # A dry run of BigQuery names the tables that the query reads, the emulator's none.
    assert plan["estimates"][0]["how"].startswith("not known before the query runs")
    assert any("nothing was sampled" in warning for warning in plan["warnings"])
    assert {"cost of the query", "cost of reading BigQuery"} <= plan["values"].keys()
    (how,) = (line["how"] for line in plan["estimates"] if line["name"] == "vocabulary user_id")
    assert how == "not known, for nothing was sampled, so taken as none"


def test_of_a_query_whose_result_is_kept_rows_are_sampled(
    front: Front, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = f"SELECT user_id, timestamp FROM `{table}` WHERE user_id > 0"
    columns = {"user_id": {"role": "user", "vocabulary": {}}, "timestamp": {"role": "time"}}
    document = bigquery_spec("", columns, bigquery={"query": query, "dataset": DATASET})
    built = build(document, tmp_path)
    plan = planned(document, tmp_path, capsys)
    assert plan["values"]["rows read"] == built.manifest.accounting.read
    assert plan["values"]["vocabulary user_id"] == built.manifest.vocabularies["user_id"].tokens > 150
    assert f"{built.manifest.accounting.read:,} rows were read as a sample" in plan["checks"]
    assert not any("nothing was sampled" in warning for warning in plan["warnings"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"table": f"{DATASET}.nowhere"}, "not found"),
        ({"table": "{table}", "where": "nope > 3"}, "where nope > 3"),
        ({"query": "SELECT FROM WHERE", "dataset": DATASET}, "BigQuery refused it"),
        ({"query": "SELECT user_id, timestamp FROM `{table}`", "dataset": "test.nowhere"}, "not found"),
    ],
)
def test_what_bigquery_refuses(
    front: Front, table: str, source: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {key: text.replace("{table}", table) for key, text in source.items()}
    columns = {"user_id": {"role": "user", "vocabulary": {}}, "timestamp": {"role": "time"}}
    assert run("plan", write_spec(tmp_path / "spec.yaml", bigquery_spec("", columns, bigquery=source))) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert (printed.out, "Traceback" in printed.err) == ("", False)
