"""Keep copies of a dataset's shards in a local folder, so that epochs do not fetch them from a bucket again.

A copy is named after what it is a copy of: its URL, bytes and checksum. It is made under another name, checked and
renamed, so that runs may share a folder, at the same time too; a lock keeps them from fetching the same shard twice,
and leases keep what they read from being removed.
"""

import dataclasses
import hashlib
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import tensorflow as tf

from penstock_shared.errors import DataRefused, UserMistake
from penstock_shared.files import File
from penstock_training.data.dataset import Dataset
from penstock_training.data.lease import Lease, leased, locked
from penstock_training.data.room import Copy, fit_in, make_room
from penstock_training.storage import PARTIAL, absolute, sequential_bytes

# Left free on the disk, for checkpoints and whatever else lives there.
SPARED_BYTES = 1 << 30
PARALLEL_COPIES = 8
FOLDER_LOCK, LOCK = "folder.lock", ".lock"
# As `copy_name` makes them; nothing else in the folder is ours to remove.
COPY_NAME = re.compile(r"[0-9a-f]{20}-.+")


@dataclass(frozen=True)
class Cache:
    """Name a folder for copies, and how many bytes they may take together; None removes none."""

    folder: str
    most_bytes: int | None = None


def cached(dataset: Dataset, split_names: Iterable[str], cache: Cache, say: Callable[[str], None]) -> Dataset:
    """Return the dataset with the shards of some splits read from copies, which are made where missing.

    Shards are copied in the manifest's order as long as they fit on the disk, SPARED_BYTES left free, and into
    `cache.most_bytes`; the others stay where they are. For that size, copies that no run reads are removed, those
    unused for longest first. `say` is told what is removed and copied. Raises UserMistake for a folder that cannot be
    written, DataRefused for a shard that is not what the manifest says.
    """
    place = _make(cache.folder)
    shards = [shard for name in split_names for shard in dataset.split(name).shards if shard.bytes]
    wanted: dict[str, File] = {copy_name(dataset.path(shard), shard): shard for shard in shards}
    with locked(place / FOLDER_LOCK):
        claimed = _claim(place, wanted, cache, say)
        lease = Lease(place, {name: wanted[name].bytes for name in claimed})
    if left := len(wanted) - len(claimed):
        say(f"{cache.folder}: {left} of {len(wanted)} shards do not fit and are read from {dataset.folder}")
    with ThreadPoolExecutor(PARALLEL_COPIES) as pool:
        list(pool.map(lambda name: copy(dataset.path(wanted[name]), wanted[name], place / name), claimed))
    local = {wanted[name].path: str(place / name) for name in claimed}
    return dataclasses.replace(dataset, copies=local, lease=lease)


def _claim(place: Path, wanted: dict[str, File], cache: Cache, say: Callable[[str], None]) -> list[str]:
    """Return the names of the copies to read, there or to be made; makes room for them where a size is given."""
    others = leased(place)
    _drop_halves(place, others)
    copies = [Copy(path.name, path.stat().st_size, path.stat().st_mtime) for path in place.iterdir() if _is_copy(path)]
    taken = {copy.name: copy.bytes for copy in copies} | others
    missing = [file for name, file in wanted.items() if name not in taken]
    free = shutil.disk_usage(place).free - SPARED_BYTES - _coming_bytes(place, others)
    if cache.most_bytes is not None:
        free = min(free, cache.most_bytes - sum(taken.values()))
        removed = make_room(copies, {*wanted, *others}, sum(file.bytes for file in missing), free)
        for copy in removed:
            (place / copy.name).unlink()
            (place / (copy.name + LOCK)).unlink(missing_ok=True)
        if removed:
            freed = sum(copy.bytes for copy in removed)
            free += freed
            say(f"{cache.folder}: removed {len(removed)} copies, {freed / 1e9:,.2f} GB, that were unused for longest")
    fitting = fit_in(missing, free)
    if missing:
        size = sum(file.bytes for file in fitting)
        say(f"{cache.folder}: copying {len(fitting)} of {len(wanted)} shards, {size / 1e9:,.2f} GB")
    for copy in copies:
        if copy.name in wanted:
            os.utime(place / copy.name)
    return [name for name, file in wanted.items() if name in taken or file in fitting]


def copy_name(url: str, file: File) -> str:
    """Return the name of a file's copy; a file of another place or with another content has another name."""
    key = hashlib.sha256(f"{absolute(url)}\n{file.bytes}\n{file.crc32c}".encode()).hexdigest()[:20]
    return f"{key}-{posixpath.basename(file.path)}"


def copy(url: str, file: File, target: Path) -> None:
    """Copy a file, unless another process just did. Raises DataRefused where its bytes or checksum are others."""
    with locked(target.with_name(target.name + LOCK)):
        if target.exists():
            return
        partial = target.with_name(target.name + PARTIAL)
        checksum, size = google_crc32c.Checksum(), 0
        with tf.io.gfile.GFile(url, "rb") as source, partial.open("wb") as sink:
            while piece := source.read(sequential_bytes(file.bytes)):
                checksum.update(piece)
                size += len(piece)
                sink.write(piece)
        found = checksum.digest().hex()
        if (size, found) != (file.bytes, file.crc32c):
            partial.unlink()
            raise DataRefused(
                f"{url}: found {size} bytes with crc32c {found}, but the manifest lists {file.bytes} bytes with "
                f"{file.crc32c}; copy or build this shard again"
            )
        partial.rename(target)


def _make(folder: str) -> Path:
    if "://" in folder:
        raise UserMistake(f"--cache {folder}: expected a folder on this machine's disk")
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / "README.txt").write_text(
            "Copies of dataset shards, made by penstock-train; remove them while no run reads them.\n"
        )
    except OSError as fault:
        raise UserMistake(f"--cache {folder}: cannot be written: {fault.strerror}; give another folder") from None
    return place


def _is_copy(path: Path) -> bool:
    return COPY_NAME.fullmatch(path.name) is not None and path.suffix not in (LOCK, PARTIAL)


def _drop_halves(place: Path, others: Collection[str]) -> None:
    """Remove what runs that were killed left half copied."""
    for path in place.glob(f"*{PARTIAL}"):
        if COPY_NAME.fullmatch(path.name) and path.name.removesuffix(PARTIAL) not in others:
            path.unlink()


def _coming_bytes(place: Path, others: dict[str, int]) -> int:
    """Return what other runs are still going to write."""
    coming = [(place / (name + PARTIAL), size) for name, size in others.items() if not (place / name).exists()]
    return sum(max(0, size - _bytes_so_far(half)) for half, size in coming)


def _bytes_so_far(half: Path) -> int:
    try:
        return half.stat().st_size
    except FileNotFoundError:  # not begun, or just renamed
        return 0
