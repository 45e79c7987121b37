"""Hold broken text to a bounded harm: bytes that are no text cost one row, a quote never closed is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import run, spec_of, write_spec

from penstock_dataprep.sources import FORMATS, csv, quotes
from penstock_dataprep.sources.quotes import QuoteWatch
from penstock_dataprep.spec.spec import SourceSpec
from penstock_shared import DataRefused

PIECES = st.lists(st.text('ab,\n\r"', max_size=12), max_size=8)


def open_at(text: bytes) -> int | None:
    """Return where the quote was opened that is still open at the end, byte by byte, or None."""
    is_inside, starts, closed_before, opened = False, True, False, 0
    for place, byte in enumerate(text):
        is_quote, may_reopen, closed_before = byte == ord('"'), closed_before, False
        if is_inside:
            is_inside, closed_before = not is_quote, is_quote
        elif is_quote and (may_reopen or starts):
            is_inside, opened = True, opened if may_reopen else place
        starts = not is_inside and byte in b",\n\r"
    return opened if is_inside else None


@given(PIECES, st.sampled_from([1, 3, 1 << 17]))
def test_a_quote_left_open_is_found_at_its_line(pieces: list[str], followed_bytes: int) -> None:
    watch, text = QuoteWatch("log.csv", ",", '"'), "".join(pieces).encode()
    opened = open_at(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quotes, "FOLLOWED_BYTES", followed_bytes)
        assert b"".join(watch(piece.encode()) for piece in pieces if piece) == text
        if opened is None:
            watch(b"")
        else:
            line = text[:opened].count(b"\n") + 1
            with pytest.raises(DataRefused, match=rf"log.csv: the quote \" that opens a value in line {line} is not"):
                watch(b"")


def read(path: Path, **settings: object) -> tuple[list[tuple], list[tuple[int, str]]]:
    """Return (place, a, b) of the rows and (place, text) of the malformed lines."""
    source = SourceSpec.model_validate({"files": str(path), "format": "csv", **settings})
    names = sorted(FORMATS["csv"].columns(str(path), source))
    rows: list[tuple] = []
    malformed: list[tuple[int, str]] = []
    for unit in FORMATS["csv"].units(str(path), path.stat().st_size):
        for held in FORMATS["csv"].read(unit, source, names):
            rows += zip(held.rows.tolist(), *(held.batch.column(name).to_pylist() for name in names), strict=True)
            malformed += held.malformed
    return rows, malformed


@pytest.mark.parametrize("block_bytes", [1 << 12, 1 << 20])
def test_a_quote_that_swallows_the_rest_is_refused(
    block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", block_bytes)
    path = tmp_path / "log.csv"
    path.write_text("a,b\n" + "1,2\n" * 99 + '1,"two\n' + "3,4\n" * 600)
    with pytest.raises(DataRefused, match=r"in line 101 is not closed by the end of the file; close it, or set"):
        read(path)
    assert len(read(path, quote=None)[0]) == 700
    monkeypatch.setattr(csv, "BLOCK_BYTES", 4 << 20)
    path.write_text("a,b\n" + "1,2\n" * 99 + '1,"two\n' + "3,4\n" * 500_000 + '5,"six"\n')
    with pytest.raises(DataRefused, match=r"in line 101 is not closed within 1 MiB; close it, or set source.quote"):
        read(path)


def test_a_byte_that_is_no_text_costs_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 60)
    lines = [f"{row},é{row}" for row in range(50)]
    content = [line.encode() for line in lines]
    content[17] = b"17,a\xffb"
    content[18] = b"only one field"
    content[30] = b"\xc3,x"
    path = tmp_path / "log.csv"
    path.write_bytes(b"a,b\n" + b"\n".join(content) + b"\n")
    rows, malformed = read(path)
    assert rows == [(row, str(row), f"é{row}") for row in range(50) if row not in (17, 18, 30)]
    assert {place for place, _ in malformed} == {17, 18, 30}
    said = dict(malformed)
    assert said[17] == "column 'b' is no utf-8 text: invalid start byte 0xff at byte 1 of b'a\\xffb'"
    assert said[30].startswith("column 'a' is no utf-8 text: ")


@pytest.mark.parametrize(("encoding", "wrong"), [("cp1252", b"\x81"), ("ascii", b"\xe9"), ("gbk", b"\xff")])
def test_bytes_that_an_encoding_does_not_have_cost_one_row(encoding: str, wrong: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"a,b\n1,x\n2," + wrong + b"\n3,z\n")
    rows, malformed = read(path, encoding=encoding)
    assert rows == [(0, "1", "x"), (2, "3", "z")]
    ((place, text),) = malformed
    assert place == 1
    assert text.startswith(f"column 'b' is no {encoding} text: ")


def test_a_line_of_json_that_is_no_text_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": "x"}\n{"a": "\xff"}\n{"a": "z"}\n')
    source = SourceSpec(files=str(path), format="jsonl")
    (held,) = FORMATS["jsonl"].read(FORMATS["jsonl"].units(str(path), 1)[0], source, ["a"])
    assert (held.rows.tolist(), held.batch.column("a").to_pylist()) == ([0, 2], ["x", "z"])
    assert [place for place, _ in held.malformed] == [1]


def test_both_are_told_to_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {
        "user_id": {"role": "user", "vocabulary": {}},
        "item_id": {"role": "item", "vocabulary": {}},
        "t": {"role": "time"},
    }
    path = tmp_path / "log.csv"
    spec = write_spec(tmp_path / "spec.yaml", spec_of(str(path), columns, "csv"))
    path.write_bytes(b"user_id,item_id,t\n1,a,1\n2,\xff,2\n")
    assert run("build", spec, "--out", tmp_path / "out") == 3
    assert f"row 2 of {path}: column 'item_id' is no utf-8 text: invalid start byte 0xff" in capsys.readouterr().err
    path.write_text('user_id,item_id,t\n1,a,1\n2,"b,2\n3,c,3\n')
    assert run("build", spec, "--out", tmp_path / "out") == 3
    assert f'{path}: the quote " that opens a value in line 3 is not closed by the end of' in capsys.readouterr().err
