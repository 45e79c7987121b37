"""See whether a dataset could be written where it is to be, leaving nothing behind."""

import os
import shutil
from pathlib import Path

from penstock_dataprep.storage.files import is_local, make_folder
from penstock_shared.errors import UserMistake


def check_writable(folder: str) -> None:
    """Raise UserMistake where a folder could not be made or written; a bucket is asked by an object of no bytes."""
    if not is_local(folder):
        make_folder(folder)
        return
    above = _nearest(folder)
    if not above.is_dir():
        raise UserMistake(f"{folder}: cannot be made: {above} is no folder; choose another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserMistake(f"{folder}: cannot be written: permission denied at {above}; choose another folder")


def free_bytes(folder: str) -> int | None:
    """Return the room on the disk that a folder is, or would be, on; None for what is not on this machine."""
    return shutil.disk_usage(_nearest(folder)).free if is_local(folder) else None


def _nearest(folder: str) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    path = Path(folder).absolute()
    return next(held for held in (path, *path.parents) if held.exists() or held.is_symlink())
