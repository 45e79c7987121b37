"""Let one build at a time work on a version, where the file system knows locks."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from penstock_dataprep.storage import is_local
from penstock_shared.errors import UserMistake


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
