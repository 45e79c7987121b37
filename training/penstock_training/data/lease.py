"""Keep copies of a cache from being removed while a run reads them, however it ends.

A lease is a file with the names and sizes of copies, there or coming, whose lock the run holds; the system lets go of
the locks of a process that ended or was killed.
"""

import fcntl
import json
import os
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENDING = ".lease"


class Lease:
    """Hold copies until this object is collected or its process has ended."""

    def __init__(self, folder: Path, sizes: dict[str, int]) -> None:
        """Take the bytes of the copies by name; call it while the folder is locked."""
        held = os.open(folder / f"{uuid.uuid4().hex}{ENDING}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        weakref.finalize(self, os.close, held)
        fcntl.flock(held, fcntl.LOCK_EX)
        with os.fdopen(held, "w", closefd=False) as file:
            json.dump(sizes, file)


def leased(folder: Path) -> dict[str, int]:
    """Return the bytes of all copies that are held, by name, and remove the leases of runs that ended.

    Call it while the folder is locked.
    """
    sizes: dict[str, int] = {}
    for path in folder.glob(f"*{ENDING}"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sizes |= json.load(file)
            else:
                path.unlink()
    return sizes


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, made if it is not there; wait while another process has it."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
