"""Remember what finished, so that a build that was killed goes on from there.

A note is written, whole or not at all, after everything it speaks of is written. It holds plain JSON values of the
step's results. Notes live in the scratch folder, whose name holds the request's fingerprint and the tool's version,
so a note never outlives the request or the code it was made for. What notes speak of is not flushed to a local disk,
so there they are good only until the machine stops.
"""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from penstock_dataprep.storage.files import exists, is_local, read_bytes, write_bytes
from penstock_dataprep.storage.scratch import Scratch

Result = TypeVar("Result")

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def forget_unflushed(scratch: Scratch) -> None:
    """Empty a local scratch folder if it is of another run of this machine; what is in a bucket stays good."""
    if not is_local(scratch.folder):
        return
    name = scratch.path("boot_id")
    boot_id = BOOT_ID.read_bytes() if BOOT_ID.exists() else b""
    if not exists(name) or read_bytes(name) != boot_id:
        scratch.clear()
        write_bytes(name, [boot_id])


def remember(scratch: Scratch, name: str, results: TypeAdapter[Any], value: Any) -> None:
    """Note the results of a finished piece of work."""
    write_bytes(_path(scratch, name), [results.dump_json(value)], durable=False)


def recall(scratch: Scratch, name: str, results: TypeAdapter[Result]) -> Result | None:
    """Return the results of a piece of work, or None where it is not known to have finished."""
    path = _path(scratch, name)
    return results.validate_json(read_bytes(path)) if exists(path) else None


def _path(scratch: Scratch, name: str) -> str:
    return scratch.path(f"done/{name}.json")
