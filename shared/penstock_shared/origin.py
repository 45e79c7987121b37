"""Record where a dataset came from: its source, the tool that built it, the version it was appended to."""

from typing import Literal

from penstock_shared.files import Count, Name, Sha256
from penstock_shared.strict import Strict


class SourceFile(Strict):
    """Identify one source file as it was when it was read."""

    path: str
    bytes: Count
    modified: str


class Source(Strict):
    """Record what was read: the files, and the type of each column taken."""

    kind: Literal["files"]
    format: str
    files: tuple[SourceFile, ...]
    rows: Count
    bytes: Count
    columns: dict[str, str]
    snapshot_time: str | None = None


class Tool(Strict):
    """Record what built the dataset."""

    version: str
    git_commit: str | None
    runner: str


class Parent(Strict):
    """Name the version this one was appended to."""

    version: Name
    digest: Sha256
