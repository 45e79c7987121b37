"""Keep two processes that do the same work out of one folder."""

import errno
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock_shared.errors import UserMistake
from penstock_training.storage import is_remote

LOCK_NAME = "lock"
# What is killed ends by itself, but not always at once, nor does the trial of a sweep that was.
PATIENCE_SECONDS = 20.0


@contextmanager
def locked(folder: str, what: str) -> Iterator[int | None]:
    """Hold a folder's lock and yield the descriptor of its file, None for a bucket, which has no locks.

    Raises UserMistake where another process, which messages call `what`, holds it.
    """
    if is_remote(folder):
        yield None
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    with (Path(folder) / LOCK_NAME).open("w") as file:
        while not _taken(file.fileno()):
            if time.monotonic() > deadline:
                raise UserMistake(f"{folder}: another {what} is at work here; wait for it, or give another folder")
            time.sleep(0.1)
        yield file.fileno()


def _taken(descriptor: int) -> bool:
    """Take a file's lock, unless another process holds it; what is mounted without locks lets everybody in."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as fault:
        if fault.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    return True
