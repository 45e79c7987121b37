"""Say what a file format must offer: its columns before the job, its rows as batches during it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

from penstock_dataprep.spec import SourceSpec
from penstock_shared.errors import UserMistake

ROWS_PER_BATCH = 1 << 20
# A column that every format has: a row's place in its file, counted from 1.
ROW_COLUMN = "$row"


@dataclass(frozen=True)
class Unit:
    """Name one piece of work of the read step: a run of row groups of a file, or a whole file.

    `weight` tells how heavy it is beside the others of its format: rows or bytes.
    """

    path: str
    weight: int
    first_row: int = 0
    row_groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class SourceBatch:
    """Hold some rows of a file as read: `rows[i]` is the place of row i in its file, counted from 0.

    `malformed` lists (row, text) of lines before the batch's end that are no rows at all.
    """

    path: str
    batch: pa.RecordBatch
    rows: np.ndarray
    malformed: tuple[tuple[int, str], ...] = ()

    def with_row_column(self) -> "SourceBatch":
        """Return the batch with ROW_COLUMN as one more column."""
        return replace(self, batch=self.batch.append_column(ROW_COLUMN, pa.array(self.rows + 1, pa.int64())))


def with_row_column(columns: dict[str, pa.DataType | None], path: str) -> dict[str, pa.DataType | None]:
    """Return a file's columns and ROW_COLUMN. Raises UserMistake where the file has a column of that name."""
    if ROW_COLUMN in columns:
        raise UserMistake(f"{path}: has a column {ROW_COLUMN}, which names a row's place in its file; rename it")
    return {**columns, ROW_COLUMN: pa.int64()}


class Format(Protocol):
    """Read one file format."""

    def columns(self, path: str, source: SourceSpec) -> dict[str, pa.DataType | None]:
        """Return each column's name and type (None where text decides row by row), reading as little as possible."""

    def units(self, path: str, size_bytes: int) -> list[Unit]:
        """Cut a file into pieces of about ROWS_PER_BATCH rows, or return it whole where that is not possible."""

    def read(self, unit: Unit, source: SourceSpec, columns: list[str]) -> Iterator[SourceBatch]:
        """Yield the unit's rows, `columns` only. Raises DataRefused for a file that cannot be read to its end."""
