"""Read and write files by path or URL through TensorFlow, which knows gs://; files are written whole or not at all.

An object in a bucket appears when its upload is complete, but a folder cannot be renamed in one go: what consists of
several objects is complete once its last one, a marker, is there.
"""

import errno
import os
import posixpath
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import tensorflow as tf

from penstock_shared.errors import PenstockError, UserMistake

Answer = TypeVar("Answer")

PARTIAL = ".partial"
UNFINISHED = "unfinished.txt"
SEQUENTIAL_BYTES = 16 << 20
# Questions asked of a bucket at a time; each takes tens of milliseconds, whatever it is.
PARALLEL_REQUESTS = 32
# What a bucket answers when nothing is wrong with what is stored there; TensorFlow has tried again by then.
UNREACHABLE = (
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnauthenticatedError,
    tf.errors.UnavailableError,
)
# What disks answer, by the code of the system; TensorFlow writes them as PATH; REASON.
FORBIDDEN = tuple(
    os.strerror(code)
    for code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)
)
FAILED = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO))
OF_DISK = re.compile(rf"^(.*); ({'|'.join(map(re.escape, FORBIDDEN + FAILED))})")
OPS = re.compile(r"\{\{function_node [^}]*\}\} ?| \[Op:\w+\](?: name: *)?")


def is_remote(path: str) -> bool:
    """Tell whether a path is a URL, and not of this machine's own filesystem."""
    return "://" in path


def absolute(path: str) -> str:
    """Return a path that means the same from any working directory."""
    return path if is_remote(path) else str(Path(path).resolve())


def exists(path: str) -> bool:
    """Tell whether there is a file or folder at `path`."""
    found: bool = tf.io.gfile.exists(path)
    return found


def is_folder(path: str) -> bool:
    """Tell whether there is a folder at `path`."""
    found: bool = tf.io.gfile.isdir(path)
    return found


def list_folder(path: str) -> list[str]:
    """Return the names in a folder, none where there is no such folder."""
    return [name.rstrip("/") for name in tf.io.gfile.listdir(path)] if is_folder(path) else []


def file_bytes(path: str) -> int:
    """Return the size of a file. Raises tf.errors.NotFoundError."""
    size: int = tf.io.gfile.stat(path).length
    return size


def read_bytes(path: str) -> bytes:
    """Return the content of a file. Raises tf.errors.OpError."""
    with tf.io.gfile.GFile(path, "rb") as file:
        content: bytes = file.read()
    return content


def read_text(path: str) -> str:
    """Return the text of a file. Raises tf.errors.OpError, UnicodeDecodeError."""
    return read_bytes(path).decode("utf-8")


def write_text(path: str, text: str) -> None:
    """Write a file whole or not at all. Raises UserMistake where there is no such bucket."""
    beside = path if is_remote(path) else path + PARTIAL
    try:
        with tf.io.gfile.GFile(beside, "wb") as file:
            file.write(text.encode("utf-8"))
    except tf.errors.NotFoundError:
        raise UserMistake(f"{path}: cannot be written: there is no such folder or bucket; make it first") from None
    if beside != path:
        tf.io.gfile.rename(beside, path, overwrite=True)


def sequential_bytes(whole_bytes: int) -> int:
    """Return how much of a file of `whole_bytes` to ask for at a time when it is read from end to end."""
    return max(1, min(whole_bytes, SEQUENTIAL_BYTES))


def make_folder(path: str, said: str | None = None) -> None:
    """Make a folder; a bucket has none to make. Raises UserMistake, naming `said`, where no folder can be made."""
    if is_remote(path):
        return
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UserMistake(f"{said or path}: cannot be made a folder: {fault.strerror}; give another place") from None


def remove_folder(path: str, marker: str | None = None) -> None:
    """Remove a folder with all it holds, `marker` first, so that what is half removed is not taken to be complete."""
    if marker is not None and exists(posixpath.join(path, marker)):
        tf.io.gfile.remove(posixpath.join(path, marker))
    if exists(path):
        tf.io.gfile.rmtree(path)


def is_unfinished(path: str) -> bool:
    """Tell whether a folder is one that `written_whole` was writing when it was killed."""
    return exists(posixpath.join(path, UNFINISHED))


def check_place(path: str) -> None:
    """Raise UserMistake, or what a bucket answers, where `written_whole` could not write; leaves nothing behind."""
    if not posixpath.basename(path.rstrip("/")):
        raise UserMistake(f"{path!r}: names no folder that could be made; give another place")
    folder = _beside(path)
    make_folder(folder, path)
    write_text(posixpath.join(folder, UNFINISHED), "Looking whether anything can be written here.\n")
    remove_folder(folder)


def _beside(path: str) -> str:
    """Return where to write what is to be at `path` when it is whole."""
    return path if is_remote(path) else f"{path.rstrip('/')}{PARTIAL}-{uuid.uuid4().hex[:8]}"


@contextmanager
def written_whole(path: str) -> Iterator[str]:
    """Yield a folder to write to; what was written is at `path` when the block ends, and gone when it fails.

    A local folder is written beside its place and renamed. In a bucket a marker says that a folder is unfinished.
    Raises UserMistake where something came to be at `path` meanwhile.
    """
    folder = _beside(path)
    remove_folder(folder)
    try:
        if is_remote(path):
            write_text(posixpath.join(path, UNFINISHED), "Being written, or left by a process that was killed.\n")
        yield folder
        if is_remote(path):
            tf.io.gfile.remove(posixpath.join(path, UNFINISHED))
        else:
            tf.io.gfile.rename(folder, path)
    except BaseException as fault:
        remove_folder(folder)
        if isinstance(fault, tf.errors.AlreadyExistsError):
            raise UserMistake(f"{path}: is there already, written by another process; give another place") from None
        raise


def ask_of_each(question: Callable[[Any], Answer], subjects: Iterable[Any]) -> list[Answer]:
    """Return the answers to a question that storage is asked about many things, in their order."""
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        return list(pool.map(question, subjects))


def reason(fault: Exception) -> str:
    """Return the first line of what TensorFlow says of a fault, without the names of its ops."""
    said = OPS.sub("", str(fault)).strip()
    # A missing key says nothing but its own name.
    named = f"{type(fault).__name__} {said}" if isinstance(fault, LookupError) or not said else said
    return named.splitlines()[0]


def explained(fault: Exception) -> PenstockError | None:
    """Return the error for people for a disk or bucket that cannot be reached or does not let us, or want of memory.

    Other faults have none.
    """
    if (found := _of_disk(fault)) is not None:
        path, said = found
        if said in FORBIDDEN:
            return UserMistake(f"{path}: {said}; give a place that this user can read and write")
        return PenstockError(f"{path}: {said}; mend that and run the same command again to go on")
    if isinstance(fault, tf.errors.ResourceExhaustedError):
        return PenstockError(f"{reason(fault)}; take a machine with more memory, or a smaller model or batch")
    if not isinstance(fault, UNREACHABLE):
        return None
    lines = [line.strip() for line in str(fault.message).splitlines()]
    where = next((line.removeprefix("when ") for line in lines if line.startswith("when ")), "using storage")
    if isinstance(fault, tf.errors.PermissionDeniedError | tf.errors.UnauthenticatedError):
        return UserMistake(
            f"{where}: permission denied: {lines[0]}. Reading needs the role roles/storage.objectViewer on the bucket, "
            "writing roles/storage.objectUser; log in with gcloud auth application-default login"
        )
    return PenstockError(f"{where}: cannot be reached: {lines[0]}; run the same command again to go on")


def _of_disk(fault: Exception) -> tuple[str, str] | None:
    """Return (path, what the system said of it) for what a disk refused, None for other faults."""
    if isinstance(fault, OSError) and fault.strerror in FORBIDDEN + FAILED:
        return str(fault.filename or "the disk"), fault.strerror
    found = OF_DISK.match(reason(fault)) if isinstance(fault, tf.errors.OpError) else None
    return None if found is None else (found[1], found[2])
