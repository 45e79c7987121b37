"""Hold the sample of a rehearsal to being a log like the large one: whole users, the same rules, any format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
import yaml
from logs import build, plain_log, plain_spec, rich_log, rich_spec, write_parquet

from penstock_dataprep.plan import plan
from penstock_dataprep.rehearsal.choose import choose_rows
from penstock_dataprep.rehearsal.sample import Sample, take_sample
from penstock_dataprep.spec.spec import load_spec


@pytest.mark.parametrize(
    ("users", "rows", "chosen"),
    [
        (["a", "a", "b"], 10, ["a", "a", "b"]),  # all fit
        ([None, None, None], 2, [None, None]),  # nobody is anybody
        ([None, "a"], 2, ["a"]),
        (["a"] * 5 + ["b"], 5, ["a"] * 5),  # who has a history comes first
        (["b", *["a"] * 5], 5, ["a"] * 5),
        (["bot"] * 90 + ["a"] * 5 + ["b"] * 5, 10, ["a"] * 5 + ["b"] * 5),  # who has most of the rows comes last
        (["bot"] * 90, 10, ["bot"] * 10),
    ],
)
def test_users_with_a_history_are_chosen(users: list[Any], rows: int, chosen: list[Any]) -> None:
    column = pa.array(users, pa.string())
    assert column.take(pa.array(choose_rows(column, rows))).to_pylist() == chosen


def test_users_are_whole_and_do_not_depend_on_the_order_of_rows() -> None:
    users = np.random.default_rng(1).integers(0, 400, 6000)
    places = choose_rows(pa.array(users), 1000)
    assert len(places) == 1000
    assert (np.diff(places) > 0).all()
    kept = np.unique(users[places])
    whole = [user for user in kept if (users[places] == user).sum() == (users == user).sum()]
    assert len(whole) >= len(kept) - 1  # the last one may be cut off
    turned = choose_rows(pa.array(users[::-1]), 1000)
    assert len(set(users[::-1][turned]) ^ set(kept)) <= 1


def sampled(document: dict[str, Any], rows: int, folder: Path) -> Sample:
    spec = load_spec("spec.yaml", yaml.safe_dump(document, sort_keys=False))
    return take_sample(plan(spec, str(folder / "datasets"), [], None, None), rows, folder / "sample")


def rows_of(table: pa.Table) -> set[tuple[Any, ...]]:
    return {tuple(str(value) for value in row.values()) for row in table.to_pylist()}


def test_a_sample_holds_rows_of_the_log_and_builds(tmp_path: Path) -> None:
    log = rich_log(6000, seed=7)
    sample = sampled(rich_spec(write_parquet(log, tmp_path / "log", files=5)), 800, tmp_path)
    held = pq.read_table(tmp_path / "sample" / "log.parquet")
    assert held.num_rows == sample.rows == 800
    assert rows_of(held.select(log.column_names)) <= rows_of(log)
    assert sample.user in {str(user) for user in held["user_id"].to_pylist()}
    document = sample.spec.model_dump(mode="json", by_alias=True)
    manifest = build(document, tmp_path / "built").manifest
    assert manifest.accounting.read == 800


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_text_keeps_its_types(kind: str, tmp_path: Path) -> None:
    log = plain_log(3000, seed=8)
    path = tmp_path / f"log.{kind}"
    if kind == "csv":
        pv.write_csv(log, path)
        path.write_text(path.read_text() + "one field\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in log.to_pylist()) + "no JSON\n")
    document = plain_spec(str(path), source={"files": str(path), "format": kind}, max_reject_fraction=0)
    sample = sampled(document, 500, tmp_path)
    assert sample.notes == ("1 malformed lines were left out of the sample",)
    built = build(sample.spec.model_dump(mode="json", by_alias=True), tmp_path / "built").manifest
    assert built.accounting.read == 500
    dtypes = {feature.name: feature.dtype for feature in built.features}
    assert dtypes == {"user_id": "int32", "item_id": "int32", "rating": "float32", "timestamp": "int64"}


def test_entity_tables_are_sampled_by_the_users_of_the_log(tmp_path: Path) -> None:
    log = plain_log(3000, seed=9)
    users = sorted(set(log["user_id"].to_pylist()))
    ages = pa.table({"id": pa.array(users, pa.int64()), "age": [20 + at % 50 for at in range(len(users))]})
    source = {"files": write_parquet(ages, tmp_path / "users"), "format": "parquet"}
    tables = {"user_id": {"source": source, "key": "id", "columns": {"age": {}}, "max_missing_fraction": 0.0}}
    sample = sampled(plain_spec(write_parquet(log, tmp_path / "log"), tables=tables), 400, tmp_path)
    held = pq.read_table(tmp_path / "sample" / "user_id.parquet")
    assert held.num_rows == sample.users < len(users)
    assert sample.notes == (f"table user_id: {sample.users} of the first {len(users)} rows are about the sample",)
    table = build(sample.spec.model_dump(mode="json", by_alias=True), tmp_path / "built").manifest.tables["user_id"]
    assert table.missing == 0


def test_the_place_of_a_row_is_kept(tmp_path: Path) -> None:
    log = plain_log(1000, seed=10)
    document = plain_spec(write_parquet(log, tmp_path / "log"))
    document["columns"] = {**document["columns"], "timestamp": {"from": "$row", "role": "time"}}
    sample = sampled(document, 300, tmp_path)
    held = pq.read_table(tmp_path / "sample" / "log.parquet")
    places = np.array(held["timestamp"].to_pylist()) - 1
    assert log["user_id"].take(pa.array(places)).to_pylist() == held["user_id"].to_pylist()
    assert sample.spec.source_column("timestamp") == "timestamp"
