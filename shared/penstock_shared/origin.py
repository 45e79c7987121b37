"""Record where a dataset came from: its source, the tool that built it, the version it was appended to."""

from typing import Annotated, Literal

from pydantic import Field

from penstock_shared.files import Count, Name, Sha256
from penstock_shared.strict import Strict


class SourceFile(Strict):
    """Identify one source file as it was when it was read."""

    path: str
    bytes: Count
    modified: str


class FileSource(Strict):
    """Record the files that were read, and the type of each column taken."""

    kind: Literal["files"]
    format: str
    files: tuple[SourceFile, ...]
    rows: Count
    bytes: Count
    columns: dict[str, str]
    snapshot_time: str | None = None


class TableSource(Strict):
    """Record the BigQuery table that was read, as it was at `snapshot_time`, and the type of each column taken.

    Where a `query` was asked for, `table` is the one that its result was kept in. `where` restricts the rows, and
    `bytes` are the table's, of all its columns.
    """

    kind: Literal["bigquery"]
    table: str
    query: str | None = None
    where: str | None = None
    snapshot_time: str
    rows: Count
    bytes: Count
    columns: dict[str, str]


Source = Annotated[FileSource | TableSource, Field(discriminator="kind")]


class Tool(Strict):
    """Record what built the dataset."""

    version: str
    git_commit: str | None
    runner: str


class Parent(Strict):
    """Name the version this one was appended to."""

    version: Name
    digest: Sha256
