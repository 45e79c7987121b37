"""Read JSON lines: one object per line, a missing key is null."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from penstock_dataprep.sources.base import SourceBatch, Unit
from penstock_dataprep.spec.source import SourceSpec
from penstock_dataprep.storage.files import open_stream, read_head
from penstock_dataprep.storage.reach import reaching
from penstock_shared.errors import DataRefused

BLOCK_BYTES = 32 << 20
PROBE_BYTES = 1 << 20
LARGEST_EXACT = 2.0**53  # from here on a float64 may stand for several integers


class JsonLinesFormat:
    """Read JSON lines with Arrow's parser, and line by line where a block mixes types or is no JSON."""

    def columns(self, path: str, source: SourceSpec) -> dict[str, pa.DataType | None]:
        """Return the keys seen in the file's first lines, with their types where those lines agree on one."""
        try:
            content = read_head(path, PROBE_BYTES)
        except (OSError, pa.ArrowException) as fault:
            raise DataRefused(f"{path}: cannot be read: {fault}") from None
        # What a full probe ends with may be half a line.
        whole = content.rpartition(b"\n")[0] if len(content) == PROBE_BYTES else content
        documents = [_parse(line) for line in whole.split(b"\n")]
        seen: dict[str, list[Any]] = {}
        for document in documents:
            if isinstance(document, dict):
                for key, value in document.items():
                    seen.setdefault(key, []).append(value)
        if not seen:
            raise DataRefused(f"{path}: no line of the first {PROBE_BYTES} bytes is a JSON object")
        return {key: _type_of(values) for key, values in seen.items()}

    def units(self, path: str, size_bytes: int) -> list[Unit]:
        """Return the file whole: a line's number is known only by reading from the start."""
        return [Unit(path, size_bytes)]

    def read(self, unit: Unit, source: SourceSpec, columns: list[str]) -> Iterator[SourceBatch]:
        """Yield the file's rows, BLOCK_BYTES of text at a time; blank lines are no rows but keep their numbers."""
        row, rest = 0, b""
        try:
            with reaching(unit.path), open_stream(unit.path) as file:
                while True:
                    piece = file.read(BLOCK_BYTES)
                    block, newline, rest = (rest + piece).rpartition(b"\n") if piece else (rest, b"", b"")
                    if not piece and not block:
                        return
                    lines = block.split(b"\n") if block or newline else []
                    yield _batch(unit.path, lines, row, columns)
                    row += len(lines)
                    if not piece:
                        return
        except OSError as fault:
            raise DataRefused(f"{unit.path}: cannot be read past row {row}: {fault}") from None


def _batch(path: str, lines: list[bytes], first_row: int, columns: list[str]) -> SourceBatch:
    rows = np.flatnonzero([bool(line.strip()) for line in lines]) + first_row
    if len(rows) == 0:
        return SourceBatch(path, _by_line([], columns), rows)
    try:
        table = pj.read_json(pa.BufferReader(b"\n".join(lines)), pj.ReadOptions(use_threads=False, block_size=1 << 30))
        found = table.combine_chunks().to_batches()
        if table.num_rows == len(rows) and len(found) == 1:
            arrays = [found[0].column(name) if name in table.column_names else pa.nulls(len(rows)) for name in columns]
            if not all(_is_faithful(array) for array in arrays):
                raise pa.ArrowInvalid("values were rewritten")
            return SourceBatch(path, pa.RecordBatch.from_arrays(arrays, names=columns), rows)
    except pa.ArrowException:
        pass  # One line that is no JSON or has another type spoils the whole block: find it line by line.
    documents, good, malformed = [], [], []
    for row in rows:
        text = lines[row - first_row]
        document = _parse(text)
        if isinstance(document, dict):
            documents.append(document)
            good.append(row)
        else:
            malformed.append((int(row), f"not a JSON object: {text[:80].decode('utf-8', 'replace')}"))
    return SourceBatch(path, _by_line(documents, columns), np.array(good, np.int64), tuple(malformed))


def _is_faithful(array: pa.Array) -> bool:
    """Tell whether Arrow's parser kept the values: not text taken for moments, nor integers rounded to floats.

    Raises ArrowInvalid for text that is not UTF-8.
    """
    if pa.types.is_list(array.type):
        return _is_faithful(array.flatten())
    if pa.types.is_floating(array.type):
        return (pc.max(pc.abs(array)).as_py() or 0) < LARGEST_EXACT
    if pa.types.is_string(array.type):
        array.validate(full=True)
    return not pa.types.is_timestamp(array.type)


def _by_line(documents: list[dict[str, Any]], columns: list[str]) -> pa.RecordBatch:
    arrays = []
    for name in columns:
        values = [document.get(name) for document in documents]
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowException, OverflowError):
            # Mixed types become text, and validation says which of them is wrong.
            arrays.append(pa.array([_text(value) for value in values], pa.string()))
    return pa.RecordBatch.from_arrays(arrays, names=columns)


def _type_of(values: list[Any]) -> pa.DataType | None:
    try:
        found = pa.array(values).type
    except (pa.ArrowException, OverflowError):
        return None
    return None if pa.types.is_null(found) else found


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _parse(line: bytes) -> Any:
    try:
        document = json.loads(line)
        if b"\\ud" in line.lower():
            json.dumps(document, ensure_ascii=False).encode()  # fails for half a surrogate pair, which is no text
    except (ValueError, RecursionError):
        return None
    return document
