"""Name, and on demand delete, what no published version needs: leftovers of builds, and versions out of retention."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock_dataprep.catalog import Published, published
from penstock_dataprep.lock import exclusive
from penstock_dataprep.storage import dataset_folder, is_local
from penstock_dataprep.text_table import text_table
from penstock_shared.errors import UserMistake
from penstock_shared.manifest import MANIFEST_NAME, Manifest

SCRATCH = ".scratch"


@dataclass(frozen=True)
class Garbage:
    """Name one file that may go, and why."""

    path: Path
    size_bytes: int
    reason: str


def find_garbage(root: str, keep: int | None) -> list[Garbage]:
    """Return what may be deleted under `root`, the folder given to `build --out`.

    With `keep`, all but that many newest versions of each dataset are out of retention; a file that a kept version
    lists stays, whatever version made it. What a running build works on is left alone.
    Raises UserMistake for a bucket, whose own lifecycle rules do this better.
    """
    if not is_local(root):
        raise UserMistake(f"{root}: gc works on local folders; use the bucket's lifecycle rules, or delete by hand")
    versions = published(root)
    kept = [held for held in versions if keep is None or held in _newest(versions, held.manifest.name, keep)]
    needed = {path for held in kept for path in _files(held)}
    found: list[Garbage] = []
    for dataset in sorted(path for path in Path(root).iterdir() if path.is_dir()):
        for folder in sorted(path for path in dataset.iterdir() if path.is_dir()):
            busy = _is_busy(dataset, folder)
            if not busy:
                found += _garbage_of(folder, needed)
    return found


def delete(garbage: list[Garbage]) -> None:
    """Delete files, manifests first, so that no version is readable while it is half gone; then empty folders."""
    for held in sorted(garbage, key=lambda held: (held.path.name != MANIFEST_NAME, held.path)):
        held.path.unlink(missing_ok=True)
    folders = {parent for held in garbage for parent in held.path.parents}
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            folder.rmdir()


def describe_garbage(garbage: list[Garbage]) -> str:
    """Return a line of text per folder and reason."""
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    for held in garbage:
        key = (str(held.path.parent), held.reason)
        files, size = sizes.get(key, (0, 0))
        sizes[key] = (files + 1, size + held.size_bytes)
    rows = [(folder, f"{files:,}", f"{size:,}", reason) for (folder, reason), (files, size) in sorted(sizes.items())]
    return text_table(("folder", "files", "bytes", "why"), rows)


def _newest(versions: list[Published], name: str, keep: int) -> list[Published]:
    own = [held for held in versions if held.manifest.name == name]
    return own[len(own) - min(keep, len(own)) :]


def _files(held: Published) -> Iterator[Path]:
    base = Path(dataset_folder(held.path))
    yield Path(held.path).absolute()
    yield Path(held.path).absolute().with_name("card.html")
    for path in _listed(held.manifest):
        yield base / path


def _listed(manifest: Manifest) -> Iterator[str]:
    """Yield the path of every file that a manifest lists, wherever in the document it stands."""
    pending: list[object] = [manifest.model_dump(mode="json")]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if {"path", "bytes", "crc32c"} <= value.keys():
                yield str(value["path"])
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _is_busy(dataset: Path, folder: Path) -> bool:
    """Tell whether a build is at work on a version folder, or on anything in the scratch folder."""
    scratch = dataset / SCRATCH
    names = list(scratch.iterdir()) if scratch.is_dir() else []
    of_folder = names if folder.name == SCRATCH else [name for name in names if name.name.startswith(folder.name)]
    for name in of_folder:
        try:
            with exclusive(str(name)):
                pass
        except UserMistake:
            return True
    return False


def _garbage_of(folder: Path, needed: set[Path]) -> list[Garbage]:
    files = [path.absolute() for path in folder.rglob("*") if path.is_file()]
    if folder.name == SCRATCH:
        reason = "scratch of a build that did not end"
    elif (folder / MANIFEST_NAME).exists():
        reason = "version out of retention" if (folder / MANIFEST_NAME).absolute() not in needed else "not listed"
    else:
        reason = "never published"
    return [Garbage(path, path.stat().st_size, reason) for path in sorted(files) if path not in needed]
