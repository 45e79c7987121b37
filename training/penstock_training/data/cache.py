"""Keep copies of a dataset's shards in a local folder, so that epochs do not fetch them from a bucket again.

A copy is named after what it is a copy of: its URL, bytes and checksum. It is made under another name, checked and
renamed, so that runs may share a folder, at the same time too; a lock keeps them from fetching the same shard twice.
"""

import dataclasses
import fcntl
import hashlib
import posixpath
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import tensorflow as tf

from penstock_shared.errors import DataRefused, UserMistake
from penstock_shared.files import File
from penstock_training.data.dataset import Dataset
from penstock_training.storage import PARTIAL, absolute, sequential_bytes

# Left free on the disk, for checkpoints and whatever else lives there.
SPARED_BYTES = 1 << 30
PARALLEL_COPIES = 8


def cached(dataset: Dataset, split_names: Iterable[str], folder: str, say: Callable[[str], None]) -> Dataset:
    """Return the dataset with the shards of some splits read from copies in `folder`, which are made where missing.

    Shards are copied in the manifest's order as long as they fit on the disk, SPARED_BYTES left free; the others stay
    where they are. `say` is told what is copied. Raises UserMistake for a folder that cannot be written, DataRefused
    for a shard that is not what the manifest says.
    """
    place = _make(folder)
    shards = {shard.path: shard for name in split_names for shard in dataset.split(name).shards if shard.bytes}
    copies = {path: place / copy_name(dataset.path(shard), shard) for path, shard in shards.items()}
    missing = [shard for path, shard in shards.items() if not copies[path].exists()]
    fitting = fit_in(missing, shutil.disk_usage(place).free - SPARED_BYTES)
    if missing:
        size = sum(shard.bytes for shard in fitting)
        say(f"{folder}: copying {len(fitting)} of {len(shards)} shards, {size / 1e9:,.2f} GB")
    if len(fitting) < len(missing):
        left = len(missing) - len(fitting)
        say(f"{folder}: {left} shards do not fit on the disk and are read from {dataset.folder}")
    with ThreadPoolExecutor(PARALLEL_COPIES) as pool:
        list(pool.map(lambda shard: copy(dataset.path(shard), shard, copies[shard.path]), fitting))
    local = {path: str(held) for path, held in copies.items() if held.exists()}
    return dataclasses.replace(dataset, copies=local)


def copy_name(url: str, file: File) -> str:
    """Return the name of a file's copy; a file of another place or with another content has another name."""
    key = hashlib.sha256(f"{absolute(url)}\n{file.bytes}\n{file.crc32c}".encode()).hexdigest()[:20]
    return f"{key}-{posixpath.basename(file.path)}"


def fit_in(files: Sequence[File], free_bytes: int) -> list[File]:
    """Return the first files that fit into so many bytes together."""
    held: list[File] = []
    for file in files:
        free_bytes -= file.bytes
        if free_bytes < 0:
            break
        held.append(file)
    return held


def copy(url: str, file: File, target: Path) -> None:
    """Copy a file, unless another process just did. Raises DataRefused where its bytes or checksum are others."""
    with _locked(target):
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
        (place / "README.txt").write_text("Copies of dataset shards, made by penstock-train; remove them at will.\n")
    except OSError as fault:
        raise UserMistake(f"--cache {folder}: cannot be written: {fault.strerror}; give another folder") from None
    return place


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    # The system lets go of a killed process's locks.
    with target.with_name(target.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
