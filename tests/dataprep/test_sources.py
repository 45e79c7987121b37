"""Hold the file formats to one meaning: the same rows, at their places, whatever the format, block size or damage."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
from logs import Built, build, contents, plain_log, run, spec_of, write_parquet, write_spec

from penstock_dataprep.sources import FORMATS, csv, jsonl, parquet
from penstock_dataprep.spec.spec import SourceSpec
from penstock_dataprep.verify.dataset import verify

TYPED_COLUMNS = {
    "user_id": {"role": "user", "vocabulary": {}, "dtype": "int64"},
    "item_id": {"role": "item", "vocabulary": {"min_count": 2}, "dtype": "string"},
    "rating": {"role": "label", "dtype": "float32"},
    "timestamp": {"role": "time", "dtype": "int64"},
}


def read(path: Path, file_format: str, columns: list[str], delimiter: str = ",") -> tuple[list, list]:
    """Return ([(place, *values)] of the rows, [(place, text)] of the malformed lines) of a whole file."""
    source = SourceSpec(files=str(path), format=file_format, delimiter=delimiter)
    rows: list[tuple[Any, ...]] = []
    malformed: list[tuple[int, str]] = []
    for unit in FORMATS[file_format].units(str(path), path.stat().st_size):
        for batch in FORMATS[file_format].read(unit, source, columns):
            values = [batch.batch.column(name).to_pylist() for name in columns]
            rows += zip(batch.rows.tolist(), *values, strict=True)
            malformed += batch.malformed
    return rows, malformed


@pytest.mark.parametrize(
    ("text", "delimiter", "rows", "malformed"),
    [
        # (content, delimiter, [(place, a, b)], [place of a malformed line])
        ("a,b\n1,2\n3,4\n", ",", [(0, "1", "2"), (1, "3", "4")], []),
        ("a,b\n1,2\n3,4", ",", [(0, "1", "2"), (1, "3", "4")], []),
        ("a,b\r\n1,2\r\n3,4\r\n", ",", [(0, "1", "2"), (1, "3", "4")], []),
        ("\ufeffa,b\n1,2\n", ",", [(0, "1", "2")], []),
        ("a\tb\n1,x\t2\n", "\t", [(0, "1,x", "2")], []),
        ("b|c|a\n1|2|3\n", "|", [(0, "3", "1")], []),
        ('a,b\n"1,x","say ""hi"""\n', ",", [(0, "1,x", 'say "hi"')], []),
        ('a,b\n1,"two\nlines"\n3,4\n', ",", [(0, "1", "two\nlines"), (1, "3", "4")], []),
        ("a,b\n1,\n,2\n", ",", [(0, "1", None), (1, None, "2")], []),
        ('a,b\n1,""\n', ",", [(0, "1", "")], []),
        ("a,b\nNULL,NA\n", ",", [(0, "NULL", "NA")], []),
        ("a,b\n1,2\n\n3,4\n", ",", [(0, "1", "2"), (1, "3", "4")], []),
        ("a,b\n1,2\n3\n4,5\n6,7,8\n9,10\n", ",", [(0, "1", "2"), (2, "4", "5"), (4, "9", "10")], [1, 3]),
        ("a,b\n1\n2\n", ",", [], [0, 1]),
        ('"a",b\n1,2\n', ",", [(0, "1", "2")], []),
    ],
)
def test_csv(text: str, delimiter: str, rows: list, malformed: list[int], tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode())
    source = SourceSpec(files=str(path), format="csv", delimiter=delimiter)
    assert set(FORMATS["csv"].columns(str(path), source)) >= {"a", "b"}
    found, refused = read(path, "csv", ["a", "b"], delimiter)
    assert (found, [place for place, _ in refused]) == (rows, malformed)


def test_csv_places_hold_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.csv"
    lines = [f"{row},x" if row % 7 else f"{row}" for row in range(1, 300)]
    path.write_text("a,b\n" + "\n".join(lines) + "\n")
    monkeypatch.setattr(csv, "BLOCK_BYTES", 64)
    rows, malformed = read(path, "csv", ["a"])
    assert rows == [(row - 1, str(row)) for row in range(1, 300) if row % 7]
    assert malformed == [(row - 1, f"1 fields where 2 are expected: {row}") for row in range(7, 300, 7)]


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("lines", "rows", "malformed"),
    [
        # (lines, [(place, a, b)], [place of a malformed line])
        (['{"a":1,"b":"x"}', '{"b":"y","a":2}'], [(0, 1, "x"), (1, 2, "y")], []),
        (['{"a":1}', '{"b":"y"}'], [(0, 1, None), (1, None, "y")], []),
        (['{"a":1,"b":null}'], [(0, 1, None)], []),
        (['{"a":1,"z":{"deep":[1]}}'], [(0, 1, None)], []),
        (["", '{"a":1}', "  ", '{"a":2}', ""], [(1, 1, None), (3, 2, None)], []),
        (['{"a":1}\r', '{"a":2}\r'], [(0, 1, None), (1, 2, None)], []),
        (['\ufeff{"a":1}', '{"a":2}'], [(0, 1, None), (1, 2, None)], []),
        (['{"a":1}', "{broken", "[1]", "3", '{"a":4}'], [(0, 1, None), (4, 4, None)], [1, 2, 3]),
        (['{"a":1} {"a":2}', '{"a":3}'], [(1, 3, None)], [0]),
        (['{"a":1}', '{"a":"x"}'], [(0, "1", None), (1, "x", None)], []),
        (['{"a":true}', '{"a":2.5}'], [(0, "true", None), (1, "2.5", None)], []),
        ([f'{{"a":{BIG}}}', '{"a":null}'], [(0, BIG, None), (1, None, None)], []),
        ([f'{{"a":{BIG}}}', '{"a":1.5}'], [(0, str(BIG), None), (1, "1.5", None)], []),
        ([f'{{"a":{2**64}}}', '{"a":1}'], [(0, str(2**64), None), (1, "1", None)], []),
        (['{"a":"2020-01-01"}', '{"a":null}'], [(0, "2020-01-01", None), (1, None, None)], []),
        (['{"a":["2020-01-01"]}'], [(0, ["2020-01-01"], None)], []),
        (['{"a":"\\\\ud800"}'.replace("\\\\", "\\"), '{"a":"x"}'], [(1, "x", None)], [0]),
        (['{"a":"\\\\ud83d\\\\ude00"}'.replace("\\\\", "\\")], [(0, "\U0001f600", None)], []),
        (["[" * 100_000, '{"a":1}'], [(1, 1, None)], [0]),
        (
            ['{"a":[1,2]}', '{"a":[]}', '{"a":null}', "{}"],
            [(0, [1, 2], None), (1, [], None), (2, None, None), (3, None, None)],
            [],
        ),
    ],
)
def test_json_lines(lines: list[str], rows: list, malformed: list[int], tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines) + "\n")
    found, refused = read(path, "jsonl", ["a", "b"])
    assert (found, [place for place, _ in refused]) == (rows, malformed)


def test_json_lines_without_a_newline_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"a":1}\n{"b":2}')
    assert set(FORMATS["jsonl"].columns(str(path), SourceSpec(files=str(path), format="jsonl"))) == {"a", "b"}
    assert read(path, "jsonl", ["a", "b"]) == ([(0, 1, None), (1, None, 2)], [])


def test_json_lines_places_hold_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    lines = [f'{{"a":{row}}}' if row % 7 else "{broken" if row % 2 else "" for row in range(300)]
    path.write_text("\n".join(lines))
    for block_bytes in (50, 64, 1 << 20):
        monkeypatch.setattr(jsonl, "BLOCK_BYTES", block_bytes)
        rows, malformed = read(path, "jsonl", ["a"])
        assert rows == [(row, row) for row in range(300) if row % 7]
        assert [place for place, _ in malformed] == [row for row in range(300) if row % 7 == 0 and row % 2]


@pytest.mark.parametrize(
    ("lines", "types"),
    [
        (['{"a":1}', '{"b":"x"}'], {"a": "int64", "b": "string"}),
        (['{"a":1}', '{"a":2.5}'], {"a": "double"}),
        (['{"a":1}', '{"a":"x"}'], {"a": None}),
        (['{"a":null}'], {"a": None}),
        ([f'{{"a":{2**64}}}'], {"a": None}),
        (['{"a":[1]}', '{"a":null}'], {"a": "list<item: int64>"}),
        (["{broken", '{"a":true}'], {"a": "bool"}),
    ],
)
def test_json_lines_types(lines: list[str], types: dict[str, str | None], tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines))
    found = FORMATS["jsonl"].columns(str(path), SourceSpec(files=str(path), format="jsonl"))
    assert {name: held and str(held) for name, held in found.items()} == types


def write_csv(table: pa.Table, path: Path, delimiter: str) -> str:
    rows = [delimiter.join(table.column_names)]
    rows += [delimiter.join("" if value is None else str(value) for value in row.values()) for row in table.to_pylist()]
    path.write_text("\r\n".join(rows) + "\r\n")
    return str(path)


def write_jsonl(table: pa.Table, path: Path) -> str:
    rows = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_all_formats_give_the_same_dataset(tmp_path: Path) -> None:
    log = plain_log(1000, seed=2)
    log = log.set_column(
        2, "rating", pa.array([None if k % 97 == 0 else v for k, v in enumerate(log["rating"].to_pylist())])
    )
    halves = log.slice(0, 400), log.slice(400)
    for number, half in enumerate(halves):
        write_jsonl(half, tmp_path / f"log-{number}.jsonl")
    sources = [
        {"files": write_parquet(log, tmp_path / "parquet", files=3), "format": "parquet"},
        {"files": write_csv(log, tmp_path / "log.csv", ","), "format": "csv"},
        {"files": write_csv(log, tmp_path / "log.tsv", "\t"), "format": "csv", "delimiter": "\t"},
        {"files": str(tmp_path / "log-*.jsonl"), "format": "jsonl"},
    ]
    built = [
        build(spec_of("", TYPED_COLUMNS, source=source), tmp_path / f"{number}")
        for number, source in enumerate(sources)
    ]
    assert built[0].manifest.accounting.rejected == {"rating null": 11}
    assert len({one.manifest.digest for one in built}) == 1
    assert all(contents(one) == contents(built[0]) for one in built)
    assert [file.path for file in built[3].manifest.source.files] == [
        str(tmp_path / f"log-{number}.jsonl") for number in (0, 1)
    ]


def test_lists_of_parquet_and_json_lines_give_the_same_dataset(tmp_path: Path) -> None:
    log = plain_log(300, seed=3)
    log = log.append_column(
        "seen", pa.array([None if k % 9 == 0 else [f"i{k % 5}é"] * (k % 4) for k in range(300)], pa.list_(pa.string()))
    ).append_column("shares", pa.array([[k / 8] * (k % 3) for k in range(300)], pa.list_(pa.float64())))
    columns = {**TYPED_COLUMNS, "seen": {"vocabulary": "item_id"}, "shares": {"dtype": "float32"}}
    built: list[Built] = []
    for file_format, files in (
        ("parquet", write_parquet(log, tmp_path / "parquet")),
        ("jsonl", write_jsonl(log, tmp_path / "log.jsonl")),
    ):
        built.append(build(spec_of(files, columns, file_format), tmp_path / f"out-{file_format}"))
        assert verify(built[-1].manifest, str(built[-1].path)) > 40
    assert built[0].manifest.digest == built[1].manifest.digest
    assert built[0].manifest.features[4].statistics.longest == 3


def test_wide_rows_of_parquet_come_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BYTES_PER_BATCH", 10_000)
    lists = [[row, 7] * (row % 30) for row in range(500)]
    held = pa.table({"id": range(500), "seen": lists})
    path = tmp_path / "log.parquet"
    pq.write_table(held, path, row_group_size=60)
    sizes = {}
    for columns in (["id"], ["seen"], ["id", "seen"]):
        (unit,) = parquet.ParquetFormat().units(str(path), 0)
        source = SourceSpec(files=str(path), format="parquet")
        batches = list(parquet.ParquetFormat().read(unit, source, columns))
        sizes[len(columns), columns[0]] = max(batch.batch.nbytes for batch in batches)
        assert [batch.rows[0] for batch in batches[1:]] == [batch.rows[-1] + 1 for batch in batches[:-1]]
        found = pa.Table.from_batches([batch.batch for batch in batches])
        assert found.to_pydict() == held.select(columns).to_pydict()
    assert sizes[1, "id"] > 500 * 8  # all rows at once
    assert all(5_000 < sizes[key] < 20_000 for key in ((1, "seen"), (2, "id")))


def test_a_wrong_type_in_a_text_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,rating,timestamp\n1,a,3,10\n2,b,good,11\n3,c,4\n4,d,5,12.5\n")
    spec = write_spec(tmp_path / "spec.yaml", spec_of(str(log), TYPED_COLUMNS, "csv"))
    assert run("build", spec, "--out", tmp_path / "out") == 3
    said = capsys.readouterr().err
    assert "3 of 4 rows are broken (75.00%), max_reject_fraction allows 5.00%" in said
    assert f"row 2 of {log}: rating: found 'good', expected a float32 value" in said
    assert f"row 3 of {log}: 3 fields where 4 are expected: 3,c,4" in said
    assert f"row 4 of {log}: timestamp: found '12.5', expected a int64 value" in said


def test_text_in_parquet_becomes_numbers_as_in_csv(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": ["7", "8", "7", "x8"],
            "item_id": ["a", "b", "c", "d"],
            "rating": ["3.5", "4", "bad", "1"],
            "timestamp": ["10", "11", "12", "13"],
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    pv.write_csv(table, tmp_path / "log.csv", pv.WriteOptions(quoting_style="none"))
    columns = {**TYPED_COLUMNS, "user_id": {"role": "user", "dtype": "int64", "vocabulary": {}}}
    built = [
        build(spec_of(str(tmp_path / f"log.{kind}"), columns, kind, max_reject_fraction=0.5), tmp_path / kind)
        for kind in ("parquet", "csv")
    ]
    for held in built:
        assert held.manifest.accounting.rejected == {"rating type": 1, "user_id type": 1}
        assert held.manifest.vocabularies["user_id"].token_dtype == "int64"
    assert contents(built[0]) == contents(built[1])
