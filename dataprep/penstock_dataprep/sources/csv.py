"""Read delimited text, with a header line or without; every field stays text until validation gives it a type."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from penstock_dataprep.sources.base import SourceBatch, Unit
from penstock_dataprep.sources.encoding import as_utf8, fault_in, to_text
from penstock_dataprep.sources.quotes import QuoteWatch
from penstock_dataprep.spec.source import SourceSpec
from penstock_dataprep.storage.files import is_local, open_input, open_stream, read_head
from penstock_dataprep.storage.reach import reaching
from penstock_shared.errors import DataRefused, UserMistake

BLOCK_BYTES = 32 << 20
HEADER_BYTES = 1 << 16
UNIT_SEPARATOR = "\x1f"  # stands for a delimiter of several characters, which Arrow's parser does not take


class CsvFormat:
    """Read CSV: an empty field is null.

    A line with too few or too many fields is a malformed row, and so is one with bytes that are no text.
    """

    def columns(self, path: str, source: SourceSpec) -> dict[str, pa.DataType | None]:
        """Return the names of the header line, or those the spec gives where there is none; the types are text."""
        try:
            header = read_head(path, HEADER_BYTES)
        except (OSError, pa.ArrowException) as fault:
            raise DataRefused(f"{path}: cannot be read: {fault}") from None
        if not header.strip():
            raise DataRefused(f"{path}: empty; expected a header line with the column names")
        line = header.split(b"\n", 1)[0].rstrip(b"\r")
        try:
            text = _with_one_delimiter(as_utf8(pa.BufferReader(line + b"\n"), source.encoding), source)
            names = pv.read_csv(text, parse_options=pv.ParseOptions(**_marks(source))).column_names
        except (pa.ArrowException, UnicodeDecodeError) as fault:
            raise DataRefused(f"{path}: the header line cannot be read: {fault}") from None
        if source.header is not None:
            if len(names) != len(source.header):
                raise UserMistake(
                    f"source.header: names {len(source.header)} columns, but the first line of {path} has "
                    f"{len(names)} fields between delimiters {source.delimiter!r}"
                )
            return dict.fromkeys(source.header)
        for name in names:
            if names.count(name) > 1:
                raise DataRefused(f"{path}: the header line names {name!r} {names.count(name)} times, expected once")
        return dict.fromkeys(names)

    def units(self, path: str, size_bytes: int) -> list[Unit]:
        """Return the file whole: where a row starts is known only by reading from the start."""
        return [Unit(path, size_bytes)]

    def read(self, unit: Unit, source: SourceSpec, columns: list[str]) -> Iterator[SourceBatch]:
        """Yield the file's rows, BLOCK_BYTES of text at a time."""
        malformed: list[tuple[int, str]] = []
        parse_options = pv.ParseOptions(
            **_marks(source),
            newlines_in_values=True,
            invalid_row_handler=functools.partial(_note_malformed, malformed, 1 if source.header else 2),
        )
        convert_options = pv.ConvertOptions(
            include_columns=columns,
            column_types=dict.fromkeys(columns, pa.binary()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        )
        names = list(source.header or ())
        read_options = pv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, column_names=names)
        parsed = reported = 0
        try:
            file = _with_one_delimiter(as_utf8(_open(unit.path), source.encoding), source)
            if source.quote is not None:
                file = pa.TransformInputStream(file, QuoteWatch(unit.path, _delimiter(source), source.quote))
            with reaching(unit.path), pv.open_csv(file, read_options, parse_options, convert_options) as reader:
                for parsed_batch in reader:
                    rows = _places(parsed, parsed_batch.num_rows, malformed)
                    batch, rows, unreadable = _readable(parsed_batch, rows, source.encoding)
                    upto = len(malformed)
                    noted = (*malformed[reported:upto], *unreadable)
                    yield SourceBatch(unit.path, _with_own_delimiter(batch, source), rows, noted)
                    parsed, reported = parsed + parsed_batch.num_rows, upto
        except (OSError, pa.ArrowException) as fault:
            raise DataRefused(f"{unit.path}: cannot be read past row {parsed + len(malformed)}: {fault}") from None
        if len(malformed) > reported:
            empty = pa.RecordBatch.from_arrays([pa.array([], pa.string()) for _ in columns], names=columns)
            yield SourceBatch(unit.path, empty, np.zeros(0, np.int64), tuple(malformed[reported:]))


def _open(path: str) -> pa.NativeFile:
    return open_input(path) if is_local(path) else pa.PythonFile(open_stream(path), mode="r")


def _marks(source: SourceSpec) -> dict[str, Any]:
    """Return the parser's delimiter and quotes."""
    return {"delimiter": _delimiter(source), "quote_char": source.quote or False}


def _delimiter(source: SourceSpec) -> str:
    """Return the one character that stands between fields once the parser sees them."""
    return source.delimiter if len(source.delimiter) == 1 else UNIT_SEPARATOR


def _readable(
    batch: pa.RecordBatch, rows: np.ndarray, encoding: str
) -> tuple[pa.RecordBatch, np.ndarray, list[tuple[int, str]]]:
    """Return (the rows that are text, their places in the file, (place, what is wrong) of the others)."""
    found = [to_text(column) for column in batch.columns]
    texts = pa.RecordBatch.from_arrays([text for text, _ in found], names=batch.schema.names)
    if not any(len(wrong) for _, wrong in found):
        return texts, rows, []
    noted: dict[int, str] = {}
    for name, column, (_, wrong) in zip(batch.schema.names, batch.columns, found, strict=True):
        for row in wrong.tolist():
            noted.setdefault(row, f"column {name!r} is no {encoding} text: {fault_in(column[row].as_py())}")
    is_text = np.ones(len(rows), bool)
    is_text[list(noted)] = False
    return texts.filter(pa.array(is_text)), rows[is_text], [(int(rows[row]), noted[row]) for row in sorted(noted)]


def _with_one_delimiter(file: pa.NativeFile, source: SourceSpec) -> pa.NativeFile:
    """Return a file in which a delimiter of several characters is UNIT_SEPARATOR."""
    if len(source.delimiter) == 1:
        return file
    delimiter, rest = source.delimiter.encode("utf-8"), b""

    def replace(piece: bytes) -> bytes:
        nonlocal rest
        text = (rest + bytes(piece)).replace(delimiter, UNIT_SEPARATOR.encode())
        # A delimiter may lie across two pieces; the last piece is empty.
        held = next((size for size in range(len(delimiter) - 1, 0, -1) if text.endswith(delimiter[:size])), 0)
        held = held if piece else 0
        rest = text[len(text) - held :]
        return text[: len(text) - held]

    return pa.TransformInputStream(file, replace)


def _with_own_delimiter(batch: pa.RecordBatch, source: SourceSpec) -> pa.RecordBatch:
    """Return a batch in which a delimiter inside quotes, and so of a value, is as it was written."""
    if len(source.delimiter) == 1 or source.quote is None:
        return batch
    columns = [pc.replace_substring(column, UNIT_SEPARATOR, source.delimiter) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _note_malformed(malformed: list[tuple[int, str]], first_line: int, row: pv.InvalidRow) -> str:
    found = f"{row.actual_columns} fields where {row.expected_columns} are expected: {row.text[:80]}"
    malformed.append((row.number - first_line, found))
    return "skip"


def _places(parsed: int, rows: int, malformed: list[tuple[int, str]]) -> np.ndarray:
    """Return the place in the file of each of `rows` parsed rows that follow `parsed` others."""
    good_rows_before = np.array([place - skipped for skipped, (place, _) in enumerate(malformed)], np.int64)
    order = np.arange(parsed, parsed + rows)
    return order + np.searchsorted(good_rows_before, order, side="right")
