"""Hold builds of broken, damaged or unreadable data to an exit code and a message, and to publishing nothing."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs import changed, plain_log, plain_spec, refused, run, write_parquet, write_spec


def with_fault(table: pa.Table, name: str, row: int, value: Any, kind: pa.DataType | None = None) -> pa.Table:
    """Return a log whose 1-based `row` holds `value` in column `name`."""
    values = table[name].to_pylist()
    values[row - 1] = value
    return table.set_column(table.column_names.index(name), name, pa.array(values, kind or table[name].type))


FAULTS = [
    # (column, value, its type, the reason, what the message says of it)
    ("rating", 7.5, None, "rating range", "rating: found '7.5', expected a value in the range [0.0, 5.0]"),
    ("rating", float("nan"), None, "rating null", "rating: found 'nan', expected a value, because null: reject"),
    ("rating", None, None, "rating null", "rating: found 'None', expected a value, because null: reject"),
    ("user_id", None, None, "user_id null", "user_id: found 'None', expected a value, because null: reject"),
    ("timestamp", 0.5, pa.float64(), "timestamp type", "timestamp: found '0.5', expected a int64 value"),
    ("timestamp", 2**63, pa.uint64(), "timestamp type", f"timestamp: found '{2**63}', expected a int64 value"),
]


@pytest.mark.parametrize(("column", "value", "kind", "reason", "message"), FAULTS)
def test_broken_rows_over_the_budget_are_refused_by_name(
    column: str, value: Any, kind: Any, reason: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = with_fault(plain_log(400, seed=1), column, 123, value, kind)
    paths = write_parquet(table, tmp_path / "log", files=2, row_group_rows=50)
    document = plain_spec([paths[0], paths[1]], max_reject_fraction=0.002)
    code, said = refused(tmp_path, capsys, document)
    assert code == 3
    assert f"1 of 400 rows are broken (0.25%), max_reject_fraction allows 0.20%: 1 {reason}." in said
    assert f"row 123 of {paths[0]}: {message}" in said


def test_broken_rows_within_the_budget_are_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = with_fault(with_fault(plain_log(400, seed=1), "rating", 123, 7.5), "user_id", 399, None)
    paths = write_parquet(table, tmp_path / "log", files=2, row_group_rows=50)
    spec = write_spec(tmp_path / "spec.yaml", plain_spec(paths, max_reject_fraction=0.005))
    assert run("build", spec, "--out", tmp_path / "datasets") == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    rejects = pa.concat_tables([pq.read_table(file) for file in sorted((path.parent / "rejects").iterdir())])
    assert sorted(map(tuple, (row.values() for row in rejects.to_pylist()))) == sorted(
        [(paths[0], 123, "rating", "range", "7.5"), (paths[1], 199, "user_id", "null", "None")]
    )
    assert json.loads(path.read_text())["accounting"]["rejected"] == {"rating range": 1, "user_id null": 1}
    assert run("verify", path) == 0


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _scribble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 200] = bytes(200)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "not a whole Parquet file"),
        (_scribble, "is the file whole?|are broken"),
        (lambda path: path.write_bytes(b""), "part-000.parquet is empty; expected rows"),
        (lambda path: path.write_text("user_id,item_id\n1,2\n"), "not a whole Parquet file"),
        (lambda path: pq.write_table(plain_log(400, seed=1).slice(0, 0), path), "hold no rows; expected at least one"),
    ],
)
def test_a_damaged_file_is_refused(damage: Any, message: str, log: str, tmp_path: Path, capsys) -> None:
    damage(Path(log))
    code, said = refused(tmp_path, capsys, plain_spec([log]))
    assert code == 3
    assert re.search(message, said), said
    assert log in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected rows"),
        ("\n", "empty; expected a header line"),
        ("user_id,item_id,rating,timestamp\n", "hold no rows"),
        ("user_id,user_id,item_id,rating,timestamp\n1,1,a,1,1\n", "the header line names 'user_id' 2 times"),
        ("user_id,item_id,rating,timestamp\n1,\udcff,1,1\n", "column 'item_id' is no utf-8 text"),
        ("user_id,item_id,rating,timestamp\n1,a,1\n", "row 1 of .*log.csv: 3 fields where 4 are expected: 1,a,1"),
    ],
)
def test_a_damaged_csv_file_is_refused(text: str, message: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "log.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    code, said = refused(tmp_path, capsys, changed(plain_spec([str(tmp_path / "log.csv")]), "source.format", "csv"))
    assert code == 3
    assert re.search(message, said), said


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to read everything, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_a_file_that_may_not_be_read_is_refused(file_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        source = folder / "log"
        source.write_text("user_id\n")
        source.chmod(0)
        spec = write_spec(folder / "spec.yaml", changed(plain_spec(str(source)), "source.format", file_format))
        with as_nobody():
            assert run("build", spec, "--out", folder / "datasets") == 3
    said = capsys.readouterr().err
    assert f"{source}: " in said
    assert "Permission denied" in said


def test_one_time_for_all_rows_cannot_be_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = plain_log(100, seed=1)
    log = log.set_column(3, "timestamp", pa.array([5] * 100))
    code, said = refused(tmp_path, capsys, plain_spec(write_parquet(log, tmp_path / "log")))
    assert code == 3
    assert "timestamp is the same in every row, so no time separates train from test" in said


def test_files_of_different_types_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = plain_log(100, seed=1)
    (first,) = write_parquet(log, tmp_path / "a")
    (second,) = write_parquet(log.set_column(0, "user_id", log["user_id"].cast(pa.string())), tmp_path / "b")
    code, said = refused(tmp_path, capsys, plain_spec([first, second]))
    assert code == 2
    assert f"{second}: its column types differ from those of {first}; set their dtype" in said
