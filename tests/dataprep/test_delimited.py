"""Hold delimited text to every mark it may use: long delimiters, other encodings, no quotes, no header."""

from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from penstock_dataprep.sources import csv
from penstock_dataprep.sources.csv import CsvFormat
from penstock_dataprep.spec.spec import SourceSpec


def read(path: Path, **settings: object) -> list[dict[str, str | None]]:
    source = SourceSpec.model_validate({"files": str(path), "format": "csv", **settings})
    reader = CsvFormat()
    names = list(reader.columns(str(path), source))
    batches = [held.batch for unit in reader.units(str(path), 1) for held in reader.read(unit, source, names)]
    return pa.Table.from_batches(batches).to_pylist()


@pytest.mark.parametrize("block_bytes", [200, 1 << 20])
def test_movielens_files(block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", block_bytes)
    rows = [{"id": str(k), "title": f'Amélie: "{k}"', "genres": "A|B" if k % 2 else None} for k in range(300)]
    text = "".join(f"{row['id']}::{row['title']}::{row['genres'] or ''}\n" for row in rows)
    path = tmp_path / "movies.dat"
    path.write_bytes(text.encode("latin-1"))
    settings = {"delimiter": "::", "quote": None, "encoding": "latin-1"}
    assert read(path, **settings, header=("id", "title", "genres")) == rows
    path.write_bytes(("id::title::genres\n" + text).encode("latin-1"))
    assert read(path, **settings) == rows


@pytest.mark.parametrize(
    ("text", "delimiter", "expected"),
    [
        ("a::b:::c\n", "::", ["a", "b", ":c"]),
        ("a:::b::c\n", "::", ["a", ":b", "c"]),
        ("a<=>b<=>c<\n", "<=>", ["a", "b", "c<"]),
        ('"a::x"::b::c:\n', "::", ["a::x", "b", "c:"]),
    ],
)
def test_long_delimiters(text: str, delimiter: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.dat"
    path.write_text(text)
    assert list(read(path, delimiter=delimiter, header=("x", "y", "z"))[0].values()) == expected


@pytest.mark.parametrize("encoding", ["utf-16", "no-such", "cp037"])
def test_encodings_that_do_not_extend_ascii_are_refused(encoding: str) -> None:
    with pytest.raises(ValidationError, match="one that extends ASCII"):
        SourceSpec.model_validate({"files": "f", "format": "csv", "encoding": encoding})
