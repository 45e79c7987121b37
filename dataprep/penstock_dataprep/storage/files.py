"""Read and write files by path or URL through fsspec; files are written whole or not at all, local ones mapped."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import google_crc32c
import pyarrow as pa

from penstock_dataprep.storage.reach import is_bucket, reaching
from penstock_shared.errors import PenstockError, UserMistake
from penstock_shared.files import File

UNFINISHED = ".tmp"
# What a remote file is read in: a request for less costs as much time, and a buffer is as large.
READ_BYTES = 16 << 20


def filesystem(path: str) -> tuple[Any, str]:
    """Return (fsspec filesystem, path inside it) of a path or URL. Raises UserMistake for one that cannot be used."""
    if is_bucket(path):
        from penstock_dataprep.storage import buckets  # its imports take most of a second

        with reaching(path):
            return buckets.system(), path.partition("://")[2]
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError) as fault:
        raise UserMistake(f"{path}: {fault}") from None
    return found


def plain(path: str) -> str:
    """Return a file:// URL as the path it stands for, and anything else as it is."""
    return filesystem(path)[1] if path.startswith("file://") else path


def is_local(path: str) -> bool:
    """Tell whether a path is on this machine's own filesystem."""
    return "://" not in path


def exists(path: str) -> bool:
    """Tell whether there is a file or folder at `path`."""
    system, inner = filesystem(path)
    with reaching(path):
        return bool(system.exists(inner))


def read_bytes(path: str) -> bytes:
    """Return the whole content of a file. Raises FileNotFoundError."""
    system, inner = filesystem(path)
    with reaching(path):
        content: bytes = system.cat_file(inner)
    return content


def open_input(path: str) -> pa.NativeFile:
    """Open a file for random access; a local one is memory-mapped, so that readers share the page cache."""
    if is_local(path):
        return pa.memory_map(path)
    system, inner = filesystem(path)
    with reaching(path):
        return pa.PythonFile(system.open(inner, "rb", block_size=READ_BYTES), mode="r")


def read_head(path: str, size: int) -> bytes:
    """Return the first `size` bytes of a file, or all of a smaller one, and fetch no more."""
    if is_local(path):
        with Path(path).open("rb") as file:
            return file.read(size)
    system, inner = filesystem(path)
    with reaching(path):
        head: bytes = system.cat_file(inner, start=0, end=size) if system.size(inner) else b""
    return head


def open_stream(path: str) -> BinaryIO:
    """Open a file to be read from end to end."""
    if is_local(path):
        return Path(path).open("rb")
    system, inner = filesystem(path)
    with reaching(path):
        file: BinaryIO = system.open(inner, "rb", block_size=READ_BYTES)
    return file


def write_bytes(path: str, parts: Iterable[bytes], durable: bool = True) -> tuple[int, str]:
    """Write a file whole or not at all, and return (bytes, crc32c as 8 hex digits).

    A local file is written beside its place, flushed to disk if it is to be `durable`, and renamed; an object in a
    bucket appears only when its upload is complete. Raises PenstockError when the disk is full, UserMistake where the
    bucket does not exist.
    """
    if is_bucket(path):
        from penstock_dataprep.storage import buckets

        with _writing(path):
            return buckets.upload(path, parts)
    system, inner = filesystem(path)
    if not is_local(path):
        content = b"".join(parts)
        system.pipe_file(inner, content)
        return len(content), f"{google_crc32c.value(content):08x}"
    target = Path(inner)
    beside = target.with_name(f"{target.name}.{uuid.uuid4().hex}{UNFINISHED}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb", buffering=1 << 20) as file:
            written = _write_parts(file, parts)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(target)
    except OSError as fault:
        raise out_of_space(path, fault) or fault from None
    finally:
        beside.unlink(missing_ok=True)
    return written


def create_bytes(path: str, content: bytes) -> None:
    """Write a file that is not there yet, whole or not at all. Raises FileExistsError where it is, whoever made it.

    A bucket is asked to take the object only as its first generation, so of several writers one wins; those of a
    local file hold a lock.
    """
    if is_local(path):
        if Path(path).exists():
            raise FileExistsError(path)
        write_bytes(path, [content])
        return
    system, inner = filesystem(path)
    with _writing(path):
        system.pipe_file(inner, content, mode="create")


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        with reaching(path):
            yield
    except FileNotFoundError:
        raise UserMistake(f"{path}: there is no such bucket; make it, or give another") from None


def make_folder(path: str) -> None:
    """Make a folder, or see whether a bucket lets write and delete. Raises UserMistake where it cannot be written."""
    if not is_local(path):
        system, inner = filesystem(join(path, f".probe-{uuid.uuid4().hex}"))
        with _writing(path):
            system.pipe_file(inner, b"")
            system.rm_file(inner)
        return
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UserMistake(f"{path}: cannot be made: {fault.strerror}; choose another folder") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserMistake(f"{path}: cannot be written: permission denied; choose another folder")


def _write_parts(file: BinaryIO, parts: Iterable[bytes]) -> tuple[int, str]:
    size, crc = 0, 0
    for part in parts:
        file.write(part)
        size += len(part)
        crc = google_crc32c.extend(crc, part)
    return size, f"{crc:08x}"


def out_of_space(path: str, fault: OSError) -> PenstockError | None:
    """Return the error to raise for a full disk or quota, or None for any other fault."""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return PenstockError(f"{path}: {os.strerror(fault.errno)}; free some and run the same command again")
    return None


def checksum(path: str) -> tuple[int, str]:
    """Return (bytes, crc32c as 8 hex digits) of a file, read in pieces."""
    size, crc = 0, 0
    system, inner = filesystem(path)
    with reaching(path), system.open(inner, "rb", block_size=READ_BYTES) as file:
        while piece := file.read(READ_BYTES if is_bucket(path) else 1 << 22):
            size += len(piece)
            crc = google_crc32c.extend(crc, piece)
    return size, f"{crc:08x}"


def is_whole(base: str, file: File) -> bool:
    """Tell whether a file of a dataset folder is there with the bytes and checksum of its entry.

    A bucket knows the checksums of its objects, and nothing is read.
    """
    path = join(base, file.path)
    if not exists(path):
        return False
    if is_bucket(path):
        from penstock_dataprep.storage import buckets

        with reaching(path):
            return buckets.checksum(path) == (file.bytes, file.crc32c)
    return checksum(path) == (file.bytes, file.crc32c)


def remove(path: str) -> None:
    """Remove a file or a folder with all it holds; do nothing when it is not there."""
    system, inner = filesystem(path)
    with reaching(path):
        if system.exists(inner):
            system.rm(inner, recursive=True)


def remove_files(paths: list[str]) -> None:
    """Remove files, many at a time in a bucket; do nothing for those that are not there."""
    for path in filter(is_local, paths):
        Path(path).unlink(missing_ok=True)
    remote = [path for path in paths if not is_local(path)]
    if remote:
        system, _ = filesystem(remote[0])
        with reaching(remote[0]), contextlib.suppress(FileNotFoundError):
            system.rm([filesystem(path)[1] for path in remote])


def dataset_folder(manifest_path: str) -> str:
    """Return the dataset folder of a manifest at `<folder>/<version>/manifest.json`."""
    if is_local(manifest_path):
        return str(Path(manifest_path).resolve().parent.parent)
    return manifest_path.rsplit("/", 2)[0]


def remove_unfinished(folder: str) -> None:
    """Remove what writers that were killed left beside the places of their files; a bucket has no such files."""
    if is_local(folder):
        for path in Path(folder).rglob(f"*{UNFINISHED}"):
            path.unlink()


def join(*parts: str) -> str:
    """Join path or URL segments with slashes."""
    return "/".join([parts[0].rstrip("/"), *parts[1:]])
