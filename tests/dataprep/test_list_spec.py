"""Hold each way that histories and sequences can be asked for wrongly to a refusal that says so."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from logs import build, left_behind, run, spec_of, write_parquet, write_spec

COLUMNS = {
    "user_id": {"role": "user", "vocabulary": {}},
    "item_id": {"role": "item", "vocabulary": {}},
    "shop": {"vocabulary": {}},
    "price": {"dtype": "float32"},
    "tags": {"vocabulary": {}},
    "timestamp": {"role": "time"},
}
LOG = pa.table(
    {
        "user_id": ["a", "b"],
        "item_id": ["x", "y"],
        "shop": ["s", "s"],
        "price": [1.0, None],
        "tags": [["t"], []],
        "timestamp": [1, 2],
    }
)
BY_USER = {"by": "entity_hash", "column": "user_id", "fractions": {"train": 0.5, "test": 0.5}}


def rules(**changes: Any) -> dict[str, Any]:
    return {"key": "user_id", "columns": ["item_id"], "length": 5, **changes}


def columns(**changes: Any) -> dict[str, Any]:
    changed = {name: {**column, **changes.get(name, {})} for name, column in COLUMNS.items()}
    return {**changed, **{name: column for name, column in changes.items() if name not in COLUMNS}}


def without(name: str) -> dict[str, Any]:
    return {other: column for other, column in COLUMNS.items() if other != name}


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"history": rules(length=0)}, "history.length: found 0"),
    ({"history": rules(length=65536)}, "history.length: found 65536"),
    ({"history": rules(columns=[])}, "history.columns: found []"),
    ({"history": rules(colums=["item_id"])}, "history.colums: unknown key 'colums'; did you mean 'columns'?"),
    (
        {"history": rules(key="usr_id")},
        "history.key: found 'usr_id', expected a column with a vocabulary; did",
    ),
    ({"history": rules(key="price")}, "history.key: found 'price', expected a column with a vocabulary"),
    ({"history": rules(columns=["itm"])}, "history.columns: found 'itm', expected a column; did you mean 'item_id'?"),
    ({"history": rules(columns=["user_id"])}, "history.columns: found 'user_id', expected columns other than the key"),
    (
        {"history": rules(columns=["shop", "shop"])},
        "history.columns: found 'shop', expected columns other than",
    ),
    ({"history": rules(columns=["price"])}, "columns.price.null: found keep, expected reject or default"),
    (
        {"history": rules(columns=["tags"])},
        "history.columns: 'tags' holds a list in each row; expected one value a row",
    ),
    (
        {"history": rules(), "columns": columns(user_id={"null": "keep"})},
        "columns.user_id.null: found keep, expected reject or default: each row needs a history.key",
    ),
    (
        {"history": rules(), "columns": columns(timestamp={"null": "keep"})},
        "columns.timestamp.null: found keep, expected reject or default: history goes by time",
    ),
    (
        {"history": rules(), "columns": columns(history_item_id={"from": "shop", "vocabulary": {}})},
        "history_item_id is the name of the history of item_id; rename the column",
    ),
    (
        {"history": rules(), "columns": without("timestamp"), "split": BY_USER},
        "history: needs a column with role time; for a log in the order of time, one with from: $row",
    ),
    (
        {"history": rules(key="shop"), "split": {"by": "leave_last"}},
        "history.key: found 'shop', expected 'user_id', by which split leave_last goes",
    ),
    (
        {"history": rules(key="item_id", columns=["shop"]), "split": BY_USER},
        "history.key: found 'item_id', expected 'user_id', by which split entity_hash goes",
    ),
    ({"examples": "sequences"}, "examples: expected sequences beside it, with key, columns and length"),
    ({"sequences": rules()}, "sequences: expected examples: sequences beside it"),
    (
        {"examples": "sequences", "sequences": rules(), "history": rules()},
        "history: expected no sequences beside it",
    ),
    (
        {"examples": "sequences", "sequences": rules(columns=["tags"])},
        "sequences.columns: 'tags' holds a list in each row",
    ),
    ({"examples": "rows of users"}, "examples: found 'rows of users', expected 'rows' or 'sequences'"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSALS, ids=[message[:50] for _, message in REFUSALS])
def test_what_cannot_work_is_refused_before_any_work(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {**spec_of(write_parquet(LOG, tmp_path / "log"), COLUMNS), **changes}
    assert run("build", write_spec(tmp_path / "spec.yaml", spec), "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert left_behind(tmp_path / "out") == []


@pytest.mark.parametrize("place", ["history", "sequences"])
def test_what_is_no_list_cannot_be_appended(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {place: rules(), "examples": "sequences" if place == "sequences" else "rows"}
    manifest = build(spec_of(write_parquet(LOG, tmp_path / "monday"), COLUMNS, **changes), tmp_path / "out").path
    plain = write_spec(tmp_path / "plain.yaml", spec_of(write_parquet(LOG, tmp_path / "tuesday"), COLUMNS))
    assert run("build", plain, "--out", tmp_path / "out", "--append-to", manifest) == 2
    assert f"{place}: found None, but" in capsys.readouterr().err


def test_a_time_split_allows_histories_of_any_key(tmp_path: Path) -> None:
    history = rules(key="shop", columns=["item_id", "user_id"])
    spec = spec_of(write_parquet(LOG, tmp_path / "log"), columns(shop={"null": "reject"}), history=history)
    assert run("build", write_spec(tmp_path / "spec.yaml", spec), "--out", tmp_path / "out") == 0
