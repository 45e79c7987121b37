"""Find the files of a log, check that they are of one schema, and cut them into units of work."""

import concurrent.futures
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock_dataprep.sources.base import ROW_COLUMN, Format, Schema, SourceBatch, Unit, with_row_column
from penstock_dataprep.sources.csv import CsvFormat
from penstock_dataprep.sources.files_survey import survey_parquet, survey_text
from penstock_dataprep.sources.jsonl import JsonLinesFormat
from penstock_dataprep.sources.parquet import ParquetFormat
from penstock_dataprep.sources.survey import Survey, spread
from penstock_dataprep.spec.source import SourceSpec
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.storage.files import filesystem, is_local, plain
from penstock_dataprep.storage.find import described
from penstock_dataprep.storage.reach import reaching
from penstock_dataprep.storage.scratch import Scratch
from penstock_shared.errors import DataRefused, UserMistake
from penstock_shared.origin import FileSource, Source, SourceFile

# Files that are looked into at a time where each answer takes tens of milliseconds.
REMOTE_THREADS = 32
# A sample is of about so many parts of the files, where there are as many.
PARTS_SAMPLED = 8
FORMATS: dict[str, Format] = {"parquet": ParquetFormat(), "csv": CsvFormat(), "jsonl": JsonLinesFormat()}


@dataclass(frozen=True)
class FilesOrigin:
    """Hold the files of a source as they were found; ROW_COLUMN counts on from `last_place`, that of older rows."""

    source: SourceSpec
    files: tuple[SourceFile, ...]
    units: tuple[Unit, ...]
    rows_expected: int | None = None
    last_place: int = 0

    def identity(self) -> Any:
        """Return each file's path, size and time."""
        return [file.model_dump() for file in self.files]

    def pinned(self, scratch: Scratch, name: str) -> "FilesOrigin":
        """Return the origin as it is: files that change get another identity."""
        return self

    def read(self, unit: Unit, columns: list[str]) -> Iterator[SourceBatch]:
        """Yield the unit's rows, ROW_COLUMN among `columns` or not."""
        found = FORMATS[str(self.source.format)].read(
            unit, self.source, [name for name in columns if name != ROW_COLUMN]
        )
        for batch in found:
            yield batch.with_row_column(self.last_place) if ROW_COLUMN in columns else batch

    def survey(self, columns: list[str]) -> Survey:
        """Return the files' rows and bytes."""
        taken = [name for name in columns if name != ROW_COLUMN]
        if self.source.format == "parquet":
            return survey_parquet(self.files, self.units, taken)
        has_header = self.source.format == "csv" and self.source.header is None
        return survey_text(self.files, taken, 1 if has_header else 0)

    def sample(self, columns: list[str], rows: int) -> Iterator[SourceBatch]:
        """Yield the first rows of units spread over the files, of further ones where these hold too few."""
        units = sorted(self.units, key=lambda unit: (unit.path, getattr(unit, "first_row", 0)))
        rows_per_unit = -(-rows // max(1, min(PARTS_SAMPLED, len(units))))
        left = rows
        for at in spread(len(units)):
            wanted = min(left, rows_per_unit)
            for batch in self.read(units[at], columns):
                held = batch.head(wanted)
                yield held
                wanted, left = wanted - len(held.rows), left - len(held.rows)
                if wanted == 0:
                    break
            if left == 0:
                return

    def entry(self, rows: int, types: dict[str, str]) -> Source:
        """Return the manifest's record of the files."""
        size = sum(file.bytes for file in self.files)
        return FileSource(
            kind="files", format=str(self.source.format), files=self.files, rows=rows, bytes=size, columns=types
        )

    def repeats(self, older: Source, version: str) -> str | None:
        """Return which file `version` has read already."""
        known = set(older.files) if isinstance(older, FileSource) else set()
        for file in self.files:
            if file in known:
                return (
                    f"source.files: {file.path} is already in version {version}, unchanged; its rows would come twice. "
                    "Name the new files alone"
                )
        return None


def find_files(spec: Spec) -> tuple[FilesOrigin, list[Schema]]:
    """Find the files of a spec's source; return them and the columns of each."""
    source = spec.source
    files = tuple(found for pattern in source.patterns for found in _list_files(plain(pattern)))
    for path, times in Counter(file.path for file in files).items():
        if times > 1:
            raise UserMistake(f"source.files: {path} is named {times} times; its rows would be read as often")
    read_format = FORMATS[str(source.format)]

    def schema(file: SourceFile) -> Schema:
        columns = with_row_column(read_format.columns(file.path, source), file.path)
        return Schema(file.path, columns, {name: str(found or "text") for name, found in columns.items()})

    threads = os.cpu_count() if all(is_local(file.path) for file in files) else REMOTE_THREADS
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        schemas = list(pool.map(schema, files))
        units = [
            unit for found in pool.map(lambda file: read_format.units(file.path, file.bytes), files) for unit in found
        ]
    if len(files) > 1 and any(spec.source_column(name) == ROW_COLUMN for name in spec.columns):
        raise UserMistake(
            f"columns: {ROW_COLUMN} counts from 1 in each file, so it orders no rows of different files, and "
            f"source.files names {len(files)}; join them into one file, or take a column that tells the time"
        )
    # Heavy units first, so that a runner that deals them out in turn gives all workers as much.
    units.sort(key=lambda unit: (-unit.weight, unit.path))
    return FilesOrigin(source, files, tuple(units)), schemas


def _list_files(pattern: str) -> list[SourceFile]:
    is_relative = is_local(pattern) and not Path(pattern).is_absolute()
    matching = described(pattern) if any(mark in pattern for mark in "*?[") else {pattern: _describe(pattern)}
    if not matching:
        raise UserMistake(
            f"source.files: nothing matches {pattern}; is it relative to the folder you run the command in?"
        )
    found = []
    for path, info in matching.items():
        if info["type"] == "directory":
            raise UserMistake(
                f"source.files: {pattern} is a folder; name its files, for example {pattern.rstrip('/')}/*"
            )
        modified = info.get("generation") or info.get("etag") or info.get("mtime") or info.get("updated") or ""
        name = os.path.relpath(path) if is_relative else path
        found.append(SourceFile(path=name, bytes=int(info["size"]), modified=str(modified)))
    if sum(file.bytes for file in found) == 0:
        raise DataRefused(f"source.files: {pattern} is empty; expected rows")
    return found


def _describe(path: str) -> dict[str, Any]:
    system, inner = filesystem(path)
    try:
        with reaching(path):
            found: dict[str, Any] = system.info(inner)
    except FileNotFoundError:
        raise UserMistake(f"source.files: {path} does not exist (looked from {Path.cwd()})") from None
    except PermissionError:
        raise UserMistake(f"source.files: {path}: permission denied") from None
    return found
