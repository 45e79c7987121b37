"""Read logs whose order is their only clock: $row in every format, and CSV without a header line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs import Built, build, rows_of, run, spec_of, write_spec

from penstock_dataprep.sources import FORMATS, Unit
from penstock_dataprep.spec.spec import SourceSpec
from penstock_dataprep.verify.dataset import verify

COLUMNS = {
    "user_id": {"role": "user", "dtype": "string", "vocabulary": {}},
    "place": {"from": "$row", "role": "time"},
}


def document(files: Path, form: str, source: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    split = {"by": "time", "test_fraction": 0.25}
    source = {"files": str(files), "format": form, **(source or {})}
    return spec_of(str(files), COLUMNS, source=source, split=split, **changes)


def refused(folder: Path, spec: dict[str, Any]) -> int:
    return run("build", write_spec(folder / "spec.yaml", spec), "--out", folder / "out")


def write_log(path: Path, form: str, users: list[str]) -> None:
    if form == "parquet":
        pq.write_table(pa.table({"user_id": users}), path, row_group_size=3)
    elif form == "csv":
        path.write_text("user_id\n" + "".join(f"{user}\n" for user in users))
    else:
        path.write_text("".join(json.dumps({"user_id": user}) + "\n" for user in users))


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_a_row_knows_its_place_in_its_file(form: str, tmp_path: Path) -> None:
    users = ["b", "a", "b", "b", "a", "b", "a", "b"]
    write_log(tmp_path / f"log.{form}", form, users)
    built = build(document(tmp_path / f"log.{form}", form), tmp_path / "out")
    # a has 2 of the 6 train rows: ids are 0 padding, 1 null, 2 out of the vocabulary, 3 b, 4 a.
    ids = {"b": 3, "a": 4}
    expected = [(ids[user], place) for place, user in enumerate(users, 1)]
    assert sorted(rows_of(built, "train"), key=lambda row: row[1]) == expected[:6]
    assert sorted(rows_of(built, "test"), key=lambda row: row[1]) == expected[6:]


@pytest.mark.parametrize("keep_last", [None, 1])
def test_places_go_on_from_the_rows_of_older_versions(keep_last: int | None, tmp_path: Path) -> None:
    built: Built | None = None
    # The first day ends in a blank line, the second in a row that is refused.
    for day, lines in enumerate((["a", "b", "", "", "a"], ["b", "a", "b", None], ["a", "b", "b"])):
        log = tmp_path / f"{day}.jsonl"
        log.write_text("".join((json.dumps({"user_id": user}) if user != "" else "") + "\n" for user in lines))
        spec = document(log, "jsonl", keep_last=keep_last, max_reject_fraction=0.25)
        built = build(spec, tmp_path / "out", append_to=built)
    assert built is not None
    places = [row[1] for split in ("train", "test") for row in rows_of(built, split)]
    # Of 5 lines 3 are rows, so the second day goes on from place 5, and the third from the largest place written.
    assert sorted(places) == ([] if keep_last else [1, 2, 5, 6, 7, 8]) + [9, 10, 11]
    assert verify(built.manifest, str(built.path)) > 10


def test_rejected_and_blank_lines_keep_their_places(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"user_id": "a"}\n\nnot json\n{"user_id": "b"}\n{"user_id": null}\n')
    batches = list(
        FORMATS["jsonl"].read(Unit(str(tmp_path / "log.jsonl"), 1), SourceSpec(files="", format="jsonl"), ["user_id"])
    )
    numbered = [batch.with_row_column(0).batch for batch in batches]
    found = {row["user_id"]: row["$row"] for batch in numbered for row in batch.to_pylist()}
    assert found == {"a": 1, "b": 4, None: 5}


def test_a_csv_file_without_a_header_line(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("1 10\n1 20\n2 30 40\n2 50\n")
    source = SourceSpec(files=str(log), format="csv", delimiter=" ", header=("user_id", "item_id"))
    assert list(FORMATS["csv"].columns(str(log), source)) == ["user_id", "item_id"]
    (batch,) = FORMATS["csv"].read(Unit(str(log), 1), source, ["item_id", "user_id"])
    assert batch.batch.to_pydict() == {"item_id": ["10", "20", "50"], "user_id": ["1", "1", "2"]}
    assert np.array_equal(batch.rows, [0, 1, 3])
    assert [row for row, _ in batch.malformed] == [2]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"header": ["a", "b", "c"]}, "source.header: names 3 columns, but the first line of"),
        ({"header": ["a", "a"]}, "header: distinct names, found ['a', 'a']"),
        ({"header": []}, "source.header: found []"),
        ({"header": ["a"], "format": "jsonl"}, "no header for format jsonl, whose files name their columns"),
    ],
)
def test_headers_that_cannot_be(
    source: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_text("1,2\n")
    form = source.pop("format", "csv")
    assert refused(tmp_path, document(tmp_path / "log.csv", form, source)) == 2
    assert message in capsys.readouterr().err


def test_places_in_several_files_are_no_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        write_log(tmp_path / f"{number}.csv", "csv", ["a"])
    assert refused(tmp_path, document(tmp_path / "*.csv", "csv")) == 2
    assert "$row counts from 1 in each file, so it orders no rows of different files" in capsys.readouterr().err


def test_a_column_called_row_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.csv").write_text("user_id,$row\na,1\n")
    assert refused(tmp_path, document(tmp_path / "log.csv", "csv")) == 2
    assert "has a column $row, which names a row's place in its file; rename it" in capsys.readouterr().err
