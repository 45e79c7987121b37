"""Sample tables and queries for a rehearsal: a bounded number of rows, of which a dataset can be built."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from emulator import DATASET, Emulator
from front import Front
from logs import build, plain_log
from test_read import bigquery_spec

from penstock_dataprep.plan import plan
from penstock_dataprep.rehearsal.sample import Sample, take_sample
from penstock_dataprep.spec.spec import load_spec

ROWS = 50_000  # more than a megabyte, below which the emulator gives one stream
COLUMNS = {
    "user_id": {"role": "user", "vocabulary": {}},
    "item_id": {"from": "event.item", "role": "item", "vocabulary": {}},
    "timestamp": {"role": "time"},
}


@pytest.fixture(scope="module")
def table(emulator: Emulator) -> str:
    log = plain_log(ROWS, seed=31, users=5000)
    event = pa.array([{"item": item} for item in log["item_id"].to_pylist()], pa.struct([("item", pa.string())]))
    return emulator.load("rehearsed", log.append_column("event", event))


def sampled(document: dict[str, Any], rows: int, folder: Path) -> Sample:
    spec = load_spec("spec.yaml", yaml.safe_dump(document, sort_keys=False))
    return take_sample(plan(spec, str(folder / "datasets"), [], None, None), rows, folder / "sample")


def test_a_table_is_sampled_from_all_streams_and_not_read_whole(front: Front, table: str, tmp_path: Path) -> None:
    sample = sampled(bigquery_spec(table, COLUMNS), 200, tmp_path)
    held = pq.read_table(tmp_path / "sample" / "log.parquet")
    assert held.column_names == list(COLUMNS)
    assert held.num_rows == sample.rows == 200
    assert sample.users < 200 / 3  # of 10,000 rows of 5,000 users
    assert len({stream for stream, _ in front.reads if not stream.endswith("none")}) > 3
    manifest = build(sample.spec.model_dump(mode="json", by_alias=True), tmp_path / "built").manifest
    assert manifest.accounting.read == 200


def test_the_result_of_a_query_is_kept_for_the_build(
    front: Front, emulator: Emulator, table: str, tmp_path: Path
) -> None:
    query = f"SELECT user_id, event, timestamp FROM `{table}` WHERE user_id > 0"
    document = bigquery_spec("", COLUMNS, bigquery={"query": query, "dataset": DATASET})
    sample = sampled(document, 300, tmp_path)
    assert sample.rows == 300
    assert sample.users > 1
    kept = {one.full_table_id for one in emulator.client.list_tables(DATASET) if "penstock_" in one.table_id}
    # A session gives rows in an order of its own, so it may be other rows of the same result.
    assert sampled(document, 300, tmp_path / "again").rows == 300
    assert {one.full_table_id for one in emulator.client.list_tables(DATASET) if "penstock_" in one.table_id} == kept
