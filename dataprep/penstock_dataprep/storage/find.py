"""Find files by a pattern or under a folder, local or in a bucket."""

import contextlib
import datetime
from dataclasses import dataclass
from typing import Any

from penstock_dataprep.storage.files import filesystem, is_local
from penstock_dataprep.storage.reach import reaching


def glob(pattern: str) -> list[str]:
    """Return the paths or URLs that match a pattern, in order; none where there is no such folder or bucket."""
    return list(described(pattern))


def described(pattern: str) -> dict[str, dict[str, Any]]:
    """Return what fsspec says of each file or folder that matches a pattern, in the order of their paths or URLs."""
    system, inner = filesystem(pattern)
    with reaching(pattern), contextlib.suppress(FileNotFoundError):
        found = system.glob(inner, detail=True)
        return {_scheme(pattern) + path: found[path] for path in sorted(found)}
    return {}


@dataclass(frozen=True)
class Found:
    """Describe a file: its path or URL, its size, and when it was written, in seconds since 1970."""

    path: str
    bytes: int
    written: float


def find(folder: str) -> list[Found]:
    """Return all files under a folder, hidden ones too, in the order of their paths; none where there is no folder."""
    system, inner = filesystem(folder)
    with reaching(folder), contextlib.suppress(FileNotFoundError):
        found = [held for held in system.find(inner, detail=True).values() if held["type"] == "file"]
        files = [Found(_scheme(folder) + held["name"], held["size"], _seconds(held)) for held in found]
        return sorted(files, key=lambda file: file.path)
    return []


def _seconds(info: dict[str, Any]) -> float:
    written = info.get("mtime") or info.get("created") or 0.0
    return written.timestamp() if isinstance(written, datetime.datetime) else float(written)


def canonical(path: str) -> str:
    """Return a path as `glob` and `find` give it."""
    return _scheme(path) + str(filesystem(path)[1]).rstrip("/")


def _scheme(path: str) -> str:
    return "" if is_local(path) else path.partition("://")[0] + "://"
