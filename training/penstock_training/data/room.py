"""Say which copies a cache gives up for others, and which of these fit: pure functions of names, sizes and times."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from penstock_shared.files import File


@dataclass(frozen=True)
class Copy:
    """Hold a copy's name, its bytes, and when a run last began to use it, in seconds since 1970."""

    name: str
    bytes: int
    used_seconds: float


def make_room(copies: Iterable[Copy], kept: Collection[str], needed_bytes: int, free_bytes: int) -> list[Copy]:
    """Return the copies to remove, those unused for longest first, until `needed_bytes` are free.

    `free_bytes` are free already, a negative number where there is too much; copies whose names are in `kept` stay.
    """
    removed: list[Copy] = []
    for copy in sorted(copies, key=lambda copy: (copy.used_seconds, copy.name)):
        if free_bytes >= needed_bytes:
            break
        if copy.name not in kept:
            removed.append(copy)
            free_bytes += copy.bytes
    return removed


def fit_in(files: Sequence[File], free_bytes: int) -> list[File]:
    """Return the first files that fit into so many bytes together."""
    held: list[File] = []
    for file in files:
        free_bytes -= file.bytes
        if free_bytes < 0:
            break
        held.append(file)
    return held
