"""Seal a checkpoint with a small file, written last, that says whose it is and which files belong to it.

Contents are not hashed here: TensorFlow writes a checksum beside each tensor and holds it against what it restores.
"""

import hashlib
import json
import posixpath
from dataclasses import asdict, dataclass

import tensorflow as tf

from penstock_shared.errors import DataRefused
from penstock_training.storage import UNREACHABLE, exists, file_bytes, list_folder, read_text, remove_folder, write_text

SEAL_NAME = "complete"
FORMAT = 2


class Broken(Exception):
    """Say that a checkpoint is not what was once saved."""


@dataclass(frozen=True)
class Identity:
    """Say which run a checkpoint is of."""

    dataset_digest: str
    recipe_digest: str


def is_sealed(folder: str) -> bool:
    """Tell whether a save into `folder` came to its end."""
    return exists(posixpath.join(folder, SEAL_NAME))


def unseal(folder: str) -> None:
    """Remove a checkpoint, its seal first."""
    remove_folder(folder, SEAL_NAME)


def seal(folder: str, step: int, identity: Identity) -> None:
    """Declare the files in `folder` the checkpoint of a run after `step` steps."""
    sizes = {name: file_bytes(posixpath.join(folder, name)) for name in sorted(list_folder(folder))}
    content = {"format": FORMAT, "step": step, **asdict(identity), "bytes": sizes}
    write_text(posixpath.join(folder, SEAL_NAME), json.dumps({**content, "sha256": _digest(content)}, indent=1) + "\n")


def check_seal(folder: str, step: int, identity: Identity) -> None:
    """Raise Broken when a checkpoint is damaged, DataRefused when it is whole but of another format or run."""
    try:
        content = json.loads(read_text(posixpath.join(folder, SEAL_NAME)))
        digest = content.pop("sha256", None)
    except UNREACHABLE:
        raise
    except (tf.errors.OpError, ValueError, AttributeError) as fault:
        raise Broken(f"its {SEAL_NAME} file cannot be read: {str(fault).splitlines()[0]}") from None
    if digest != _digest(content):
        raise Broken(f"its {SEAL_NAME} file has sha256 {digest}, but its content has {_digest(content)}")
    if content["format"] != FORMAT:
        raise DataRefused(
            f"{folder}: has checkpoint format {content['format']}, expected {FORMAT}; continue with the version of "
            "penstock-training that wrote it, or fit into a new --workdir"
        )
    for part, expected in {"step": step, **asdict(identity)}.items():
        if content[part] != expected:
            raise DataRefused(
                f"{folder}: is another run's: its {part.replace('_', ' ')} is {content[part]}, expected {expected}; "
                "take it out of the folder"
            )
    for name, size in content["bytes"].items():
        try:
            found = file_bytes(posixpath.join(folder, name))
        except tf.errors.NotFoundError:
            raise Broken(f"{name} is missing") from None
        if found != size:
            raise Broken(f"{name} has {found} bytes, expected {size}")


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
