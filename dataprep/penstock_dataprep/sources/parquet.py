"""Read Parquet files, a run of row groups at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import fsspec.parquet
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penstock_dataprep.sources.base import ROWS_PER_BATCH, SourceBatch, Unit
from penstock_dataprep.spec.source import SourceSpec
from penstock_dataprep.storage.files import filesystem, is_local, open_input
from penstock_dataprep.storage.reach import reaching
from penstock_shared.errors import DataRefused

# Of a batch as read; coding the tokens of lists takes eight times as much. Rows of some numbers and short strings fit.
BYTES_PER_BATCH = 64 << 20
VALUE_BYTES = 8


@dataclass(frozen=True)
class RowGroups(Unit):
    """Name a run of row groups of a file; its first row is the file's `first_row`."""

    first_row: int
    row_groups: tuple[int, ...]


class ParquetFormat:
    """Read Parquet: types come from the file, and only the wanted columns are decoded."""

    def columns(self, path: str, source: SourceSpec) -> dict[str, pa.DataType | None]:
        """Return the columns of the file's Arrow schema."""
        schema = _open(path).schema_arrow
        return {field.name: field.type for field in schema}

    def units(self, path: str, size_bytes: int) -> list[Unit]:
        """Gather adjacent row groups until they hold ROWS_PER_BATCH rows."""
        metadata = _open(path).metadata
        units: list[Unit] = []
        first_row = gathered = 0
        groups: list[int] = []
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            if groups and gathered + rows > ROWS_PER_BATCH:
                units.append(RowGroups(path, gathered, first_row, tuple(groups)))
                first_row, gathered, groups = first_row + gathered, 0, []
            groups.append(group)
            gathered += rows
        if gathered:
            units.append(RowGroups(path, gathered, first_row, tuple(groups)))
        return units

    def read(self, unit: Unit, source: SourceSpec, columns: list[str]) -> Iterator[SourceBatch]:
        """Yield the unit's rows in batches of at most ROWS_PER_BATCH rows and about BYTES_PER_BATCH."""
        assert isinstance(unit, RowGroups)
        row = unit.first_row
        try:
            file = _open(unit.path) if is_local(unit.path) else _fetch(unit, columns)
            rows_per_batch = _rows_per_batch(file.metadata, unit, columns)
            for batch in file.iter_batches(
                batch_size=rows_per_batch, row_groups=list(unit.row_groups), columns=columns, use_threads=False
            ):
                yield SourceBatch(unit.path, batch, np.arange(row, row + batch.num_rows))
                row += batch.num_rows
        except (OSError, pa.ArrowException) as fault:
            raise DataRefused(f"{unit.path}: cannot be read past row {row}: {fault}; is the file whole?") from None


def _rows_per_batch(metadata: pq.FileMetaData, unit: RowGroups, columns: list[str]) -> int:
    """Return how many of the unit's rows make a batch; lists and long texts make rows wide."""
    size = 0
    for group in unit.row_groups:
        chunks = metadata.row_group(group)
        for chunk in map(chunks.column, range(chunks.num_columns)):
            if any(chunk.path_in_schema == name or chunk.path_in_schema.startswith(f"{name}.") for name in columns):
                # Encoded by a dictionary, values take less in the file than in memory.
                size += max(chunk.total_uncompressed_size, chunk.num_values * VALUE_BYTES)
    return min(ROWS_PER_BATCH, max(1, unit.weight * BYTES_PER_BATCH // max(1, size)))


def _fetch(unit: RowGroups, columns: list[str]) -> pq.ParquetFile:
    """Open a remote file with the chunks of the unit's columns, fetched at once and side by side."""
    system, inner = filesystem(unit.path)
    with reaching(unit.path):
        fetched = fsspec.parquet.open_parquet_file(
            inner, fs=system, columns=columns, row_groups=list(unit.row_groups), engine="pyarrow"
        )
    return pq.ParquetFile(fetched)


def _open(path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(open_input(path))
    except (OSError, pa.ArrowException) as fault:
        raise DataRefused(f"{path}: not a whole Parquet file: {fault}") from None
