"""Name, and on demand delete, what no published version needs: leftovers of builds, and versions out of retention."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock_dataprep.storage.files import is_local, join, remove_files
from penstock_dataprep.storage.find import Found, canonical, find
from penstock_dataprep.storage.lock import exclusive
from penstock_dataprep.storage.scratch import FOLDER_NAME, local_root
from penstock_dataprep.versions.catalog import Published, published
from penstock_dataprep.versions.text_table import text_table
from penstock_shared.errors import UserMistake
from penstock_shared.manifest import MANIFEST_NAME, Manifest

# Nothing tells whether a build on another machine works on a folder of a bucket, but that it wrote there of late.
QUIET_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Garbage:
    """Name one file that may go, and why."""

    path: str
    size_bytes: int
    reason: str


def find_garbage(root: str, keep: int | None) -> list[Garbage]:
    """Return what may be deleted under `root`, the folder or URL given to `build --out`.

    With `keep`, all but that many newest versions of each dataset are out of retention; a file that a kept version
    lists stays, whatever version made it. What a running build works on is left alone: in a bucket, versions that are
    not published and were written to within a day.
    """
    versions = published(root)
    kept = [held for held in versions if keep is None or held in _newest(versions, held.manifest.name, keep)]
    needed = {path for held in kept for path in _files(held)}
    found: list[Garbage] = []
    for dataset, folders in _folders(canonical(root)).items():
        scratch = folders.pop(FOLDER_NAME, [])
        left = [] if is_local(root) else find(local_root(dataset))
        for name, files in folders.items():
            if not _is_busy(dataset, name, [*files, *scratch]):
                found += _garbage_of(files, needed, join(dataset, name, MANIFEST_NAME))
        if not _is_busy(dataset, "", scratch):
            reason = "scratch of a build that did not end"
            found += [Garbage(file.path, file.bytes, reason) for file in [*scratch, *left]]
    return found


def delete(garbage: list[Garbage]) -> None:
    """Delete files, manifests first, so that no version is readable while it is half gone; then empty folders."""
    for is_manifest in (True, False):
        remove_files([held.path for held in garbage if held.path.endswith(f"/{MANIFEST_NAME}") == is_manifest])
    folders = {parent for held in garbage if is_local(held.path) for parent in Path(held.path).parents}
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            folder.rmdir()


def describe_garbage(garbage: list[Garbage]) -> str:
    """Return a line of text per folder and reason."""
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    for held in garbage:
        key = (held.path.rpartition("/")[0], held.reason)
        files, size = sizes.get(key, (0, 0))
        sizes[key] = (files + 1, size + held.size_bytes)
    rows = [(folder, f"{files:,}", f"{size:,}", reason) for (folder, reason), (files, size) in sorted(sizes.items())]
    return text_table(("folder", "files", "bytes", "why"), rows)


def _newest(versions: list[Published], name: str, keep: int) -> list[Published]:
    own = [held for held in versions if held.manifest.name == name]
    return own[len(own) - min(keep, len(own)) :]


def _folders(root: str) -> dict[str, dict[str, list[Found]]]:
    """Return the files of each folder of each dataset folder: of versions by their name, and of scratch."""
    folders: dict[str, dict[str, list[Found]]] = {}
    for file in find(root):
        inside = file.path.removeprefix(root).strip("/").split("/")
        if len(inside) > 2:
            folders.setdefault(join(root, inside[0]), {}).setdefault(inside[1], []).append(file)
    return folders


def _files(held: Published) -> Iterator[str]:
    folder = held.path.rpartition("/")[0]
    yield held.path
    yield join(folder, "card.html")
    for path in _listed(held.manifest):
        yield join(folder.rpartition("/")[0], path)


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


def _is_busy(dataset: str, version: str, files: list[Found]) -> bool:
    """Tell whether a build is at work on a version, or, where it is "", on anything in the scratch folder."""
    if not is_local(dataset) and any(time.time() - file.written < QUIET_SECONDS for file in files):
        return True
    scratch = Path(join(dataset, FOLDER_NAME) if is_local(dataset) else local_root(dataset))
    for name in scratch.glob(f"{version}*") if scratch.is_dir() else []:
        try:
            with exclusive(str(name)):
                pass
        except UserMistake:
            return True
    return False


def _garbage_of(files: list[Found], needed: set[str], manifest: str) -> list[Garbage]:
    reason = "never published"
    if any(file.path == manifest for file in files):
        reason = "version out of retention" if manifest not in needed else "not listed"
    return [Garbage(file.path, file.bytes, reason) for file in files if file.path not in needed]
