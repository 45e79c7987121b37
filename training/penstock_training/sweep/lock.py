"""Keep two sweeps out of one folder."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock_shared.errors import UserMistake
from penstock_training.storage import is_remote

LOCK_NAME = "lock"
# A trial whose sweep was killed ends by itself, but not at once.
PATIENCE_SECONDS = 20.0


@contextmanager
def locked(folder: str) -> Iterator[int | None]:
    """Hold a folder's lock and yield the descriptor of its file, None for a bucket, which has no locks.

    Raises UserMistake where another process holds it.
    """
    if is_remote(folder):
        yield None
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    with (Path(folder) / LOCK_NAME).open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserMistake(
                        f"{folder}: another sweep is at work here; wait for it, or give another folder"
                    ) from None
                time.sleep(0.1)
        yield file.fileno()
