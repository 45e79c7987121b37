"""Let one build at a time work on a version, where the file system knows locks, and one version of the program."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from penstock_dataprep.storage.files import create_bytes, exists, is_local, join, read_bytes, remove
from penstock_shared.errors import UserMistake

CLAIM_NAME = "builder"


@contextlib.contextmanager
def exclusive(folder: str) -> Iterator[None]:
    """Make scratch folder `folder` and hold a lock on it until the block ends; a process that dies lets go of it.

    Raises UserMistake when another build holds it. A bucket has no locks: builds there write equal bytes to equal
    names, and the manifest is what decides.
    """
    if not is_local(folder):
        yield
        return
    descriptor = _lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def claimed(folder: str, program: str) -> Iterator[None]:
    """Claim version folder `folder` of a bucket for one version of this program, until the block has ended well.

    Another might write other bytes to the same names, under a manifest that is published already.
    Raises UserMistake where another version has claimed it.
    """
    path = join(folder, CLAIM_NAME)
    if is_local(folder):
        yield
        return
    try:
        create_bytes(path, program.encode())
    except FileExistsError:
        found = read_bytes(path).decode() if exists(path) else program
        if found != program:
            raise UserMistake(
                f"{path}: penstock-data {found} has begun this version, and this is {program}, which may write other "
                f"bytes; let that build end, or, if it has died, finish it with {found} or remove {folder}"
            ) from None
    yield
    remove(path)


def _lock(folder: str) -> int:
    while True:
        Path(folder).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UserMistake(
                f"{folder}: another build of this version is running; wait for it, then run the same command again"
            ) from None
        # A build that has just ended may have removed the folder before it was locked here.
        if Path(folder).exists() and os.path.samestat(os.fstat(descriptor), Path(folder).stat()):
            return descriptor
        os.close(descriptor)
