"""Say what a source must offer: its columns before the job, its rows as batches during it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from penstock_dataprep.sources.survey import Survey
from penstock_dataprep.spec.source import SourceSpec
from penstock_dataprep.storage.scratch import Scratch
from penstock_shared.errors import UserMistake
from penstock_shared.origin import Source

ROWS_PER_BATCH = 1 << 20
# A column that every format has: a row's place in its file, counted from 1 or on from the rows of older versions.
ROW_COLUMN = "$row"


@dataclass(frozen=True)
class Unit:
    """Name one piece of work of the read step: all of `path`, or what a subclass says of it.

    `weight` tells how heavy it is beside the others of its source: rows or bytes.
    """

    path: str
    weight: int


@dataclass(frozen=True)
class SourceBatch:
    """Hold some rows of a file as read: `rows[i]` is the place of row i in its file, counted from 0.

    `malformed` lists (row, text) of lines before the batch's end that are no rows at all.
    """

    path: str
    batch: pa.RecordBatch
    rows: np.ndarray
    malformed: tuple[tuple[int, str], ...] = ()

    @property
    def nbytes(self) -> int:
        """Return the size of the rows in memory."""
        size: int = self.batch.nbytes
        return size

    def decode(self) -> "SourceBatch":
        """Return the batch itself: a file's reader has decoded it."""
        return self

    def head(self, rows: int) -> "SourceBatch":
        """Return the first rows."""
        return replace(self, batch=self.batch.slice(0, rows), rows=self.rows[:rows])

    def with_row_column(self, last_place: int) -> "SourceBatch":
        """Return the batch with ROW_COLUMN as one more column, counted on from `last_place`."""
        places = pa.array(self.rows + last_place + 1, pa.int64())
        return replace(self, batch=self.batch.append_column(ROW_COLUMN, places))


def with_row_column(columns: dict[str, pa.DataType | None], path: str) -> dict[str, pa.DataType | None]:
    """Return a file's columns and ROW_COLUMN. Raises UserMistake where the file has a column of that name."""
    if ROW_COLUMN in columns:
        raise UserMistake(f"{path}: has a column {ROW_COLUMN}, which names a row's place in its file; rename it")
    return {**columns, ROW_COLUMN: pa.int64()}


class Piece(Protocol):
    """Hold some rows of a unit as they were read, decoded or not."""

    @property
    def nbytes(self) -> int:
        """Return the size of the piece in memory."""

    def decode(self) -> SourceBatch:
        """Return the rows. Raises DataRefused where they cannot be decoded."""


class Schema(NamedTuple):
    """Hold the columns of one part of a source, all of it or one file.

    `columns` maps names to Arrow types, None for text whose values decide; `types` names them as the source does.
    """

    place: str
    columns: dict[str, pa.DataType | None]
    types: dict[str, str]


class Origin(Protocol):
    """Hold a source as it was found before the job; workers read it by this alone."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """Return the pieces of work, the same in each attempt of one build, heavy ones first."""

    @property
    def rows_expected(self) -> int | None:
        """Return how many rows there are, None where that is not known before they are read."""

    def identity(self) -> Any:
        """Return, as a JSON value, what tells this state of the source from any other, for the fingerprint."""

    def pinned(self, scratch: Scratch, name: str) -> "Origin":
        """Return the origin with what all attempts of a build must agree on, kept in its scratch folder as `name`."""

    def read(self, unit: Unit, columns: list[str]) -> Iterator[Piece]:
        """Yield the unit's rows, `columns` only."""

    def survey(self, columns: list[str]) -> Survey:
        """Return what is known of the source's size, where `columns` are taken of it."""

    def sample(self, columns: list[str], rows: int) -> Iterator[SourceBatch]:
        """Yield up to `rows` rows, `columns` only: runs of them as they lie, from parts spread over the source.

        There are none where only a query that is not run yet would tell.
        """

    def entry(self, rows: int, types: dict[str, str]) -> Source:
        """Return the manifest's record of what was read."""

    def repeats(self, older: Source, version: str) -> str | None:
        """Return why rows that `version` read would come twice, None where they do not."""


class Format(Protocol):
    """Read one file format."""

    def columns(self, path: str, source: SourceSpec) -> dict[str, pa.DataType | None]:
        """Return each column's name and type (None where text decides row by row), reading as little as possible."""

    def units(self, path: str, size_bytes: int) -> list[Unit]:
        """Cut a file into pieces of about ROWS_PER_BATCH rows, or return it whole where that is not possible."""

    def read(self, unit: Unit, source: SourceSpec, columns: list[str]) -> Iterator[SourceBatch]:
        """Yield the unit's rows, `columns` only. Raises DataRefused for a file that cannot be read to its end."""
