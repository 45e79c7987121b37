"""Define what a spec says of its source: files of one format, or a BigQuery table or query."""

import datetime
import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock_shared.strict import Strict

ASCII = "".join(map(chr, range(128)))
TABLE = re.compile(r"[a-z0-9.:-]+\.[A-Za-z0-9_]+\.[^.`\s$@/]+")
DATASET = re.compile(r"[a-z0-9.:-]+\.[A-Za-z0-9_]+")


class BigQuerySpec(Strict):
    """Say which table to read, or which query's result.

    `table` is project.dataset.table; `where` restricts its rows, as in SQL but without aggregates and subqueries, and
    `snapshot_time` reads it as it was then. The result of a `query` is kept for some days in a table of `dataset`,
    project.dataset. `billing_project` pays, by default that of the credentials. Up to `rows_per_range` rows are held on
    disk until the whole range they belong to has been read.
    """

    table: str | None = None
    where: Annotated[str, Field(min_length=1)] | None = None
    snapshot_time: str | None = None
    query: Annotated[str, Field(min_length=1)] | None = None
    dataset: str | None = None
    billing_project: Annotated[str, Field(min_length=1)] | None = None
    rows_per_range: Annotated[int, Field(ge=1)] = 50_000_000

    @model_validator(mode="after")
    def _holds_together(self) -> "BigQuerySpec":
        if (self.table is None) == (self.query is None):
            raise ValueError("exactly one of table and query")
        if self.table is not None and TABLE.fullmatch(self.table) is None:
            raise ValueError(f"table: project.dataset.table, found {self.table!r}")
        if self.query is None and self.dataset is not None:
            raise ValueError("dataset only with query, whose result it keeps")
        if self.query is not None:
            self._query_fits()
        if self.snapshot_time is not None:
            self.snapshot()
        return self

    def _query_fits(self) -> None:
        if self.dataset is None or DATASET.fullmatch(self.dataset) is None:
            raise ValueError(f"dataset: the project.dataset to keep the result of the query in, found {self.dataset!r}")
        if self.where is not None:
            raise ValueError("no where with a query; write it into the query")
        if self.snapshot_time is not None:
            raise ValueError(
                "no snapshot_time with a query; write FOR SYSTEM_TIME AS OF TIMESTAMP '...' after its tables"
            )

    def snapshot(self) -> datetime.datetime | None:
        """Return the snapshot time in UTC, None where the spec gives none."""
        if self.snapshot_time is None:
            return None
        try:
            moment = datetime.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", self.snapshot_time))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ValueError(
                f"snapshot_time: a moment with its offset, such as '2026-11-20T00:00:00Z', found {self.snapshot_time!r}"
            )
        return moment.astimezone(datetime.timezone.utc)


class SourceSpec(Strict):
    """Say what to read: `files`, a path, a glob or an fsspec URL, or a list of them; or `bigquery`.

    The rest is for CSV: `delimiter` may be several characters, `quote: null` takes quotes as they are, `encoding` is
    any that extends ASCII, and `header` names the columns of files that have no header line.
    """

    files: str | tuple[str, ...] | None = None
    format: Literal["parquet", "csv", "jsonl"] | None = None
    bigquery: BigQuerySpec | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=8)] = ","
    quote: Annotated[str, Field(min_length=1, max_length=1)] | None = '"'
    encoding: str = "utf-8"
    header: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> "SourceSpec":
        if (self.files is None) == (self.bigquery is None):
            raise ValueError("exactly one of files and bigquery")
        of_files = self.model_fields_set - {"bigquery", "files"}
        if self.bigquery is not None and any(getattr(self, name) != _DEFAULTS[name] for name in of_files):
            raise ValueError(f"no {', '.join(sorted(of_files))} with bigquery, for they are about files")
        if self.files is not None and self.format is None:
            raise ValueError("format: parquet, csv or jsonl, for files do not tell theirs")
        if self.header is not None and self.format != "csv":
            raise ValueError(f"no header for format {self.format}, whose files name their columns")
        if not _extends_ascii(self.encoding):
            raise ValueError(
                f"encoding: one that extends ASCII, such as utf-8, latin-1 or cp1252, not {self.encoding!r}"
            )
        if self.header is not None and len(set(self.header)) < len(self.header):
            raise ValueError(f"header: distinct names, found {list(self.header)}")
        return self

    @property
    def kind(self) -> Literal["files", "bigquery"]:
        """Return the kind of source."""
        return "files" if self.bigquery is None else "bigquery"

    @property
    def patterns(self) -> tuple[str, ...]:
        """Return the paths, globs and URLs as a tuple."""
        return (self.files,) if isinstance(self.files, str) else self.files or ()

    @property
    def place(self) -> str:
        """Return what messages about the source begin with: where in the spec, and what it says there."""
        if self.bigquery is not None:
            return f"source.bigquery: {self.bigquery.table or 'the result of the query'}"
        return f"source.files: {', '.join(self.patterns)}"


def _extends_ascii(encoding: str) -> bool:
    try:
        return ASCII.encode(encoding) == ASCII.encode("ascii")
    except LookupError:
        return False


_DEFAULTS = {name: field.default for name, field in SourceSpec.model_fields.items()}
