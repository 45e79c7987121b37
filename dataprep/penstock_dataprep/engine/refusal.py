"""Carry the reason of a refusal from a worker to the person who started the build.

A runner reports a failed step as a trace of its own machinery. A refusal is written to the scratch folder first, and
the command line shows that instead.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from penstock_dataprep.job import Job
from penstock_dataprep.storage.files import exists, out_of_space, read_bytes, write_bytes
from penstock_dataprep.storage.reach import explained
from penstock_shared.errors import DataRefused, PenstockError, UserMistake

FILE_NAME = "refusal.json"
_NOTED: dict[str, PenstockError] = {}
KINDS: dict[str, type[PenstockError]] = {kind.__name__: kind for kind in (PenstockError, UserMistake, DataRefused)}


def reporting(
    function: Callable[..., Iterator[Any]], job: Job, element: Any, side_inputs: tuple[Any, ...]
) -> Iterator[Any]:
    """Yield what a step yields for `element`, and note a refusal before letting it fail the pipeline."""
    try:
        yield from function(job, element, *side_inputs)
    except PenstockError as refusal:
        note(refusal, job)
        raise
    except Exception as fault:
        reason = _reason(fault, job)
        if reason is None:
            raise
        note(reason, job)
        raise reason from fault


def _reason(fault: Exception, job: Job) -> PenstockError | None:
    """Return the error to raise for a fault of a disk or a bucket, or None for one of the code."""
    for place in (job.base, job.scratch.folder):
        if (reason := explained(place, fault)) is not None:
            return reason
    if isinstance(fault, OSError):
        return out_of_space(job.base, fault) or PenstockError(f"{job.base}: {fault}")
    return None


def note(refusal: PenstockError, job: Job) -> None:
    """Write a refusal to the scratch folder, and keep the first for a build in this process."""
    _NOTED.setdefault(job.scratch.folder, refusal)
    document = {"kind": type(refusal).__name__, "message": str(refusal)}
    # The very reason may be that nothing can be written.
    with contextlib.suppress(OSError, PenstockError):
        write_bytes(job.scratch.path(FILE_NAME), [json.dumps(document).encode()])


def noted(job: Job) -> PenstockError | None:
    """Return the refusal that a worker noted, or None."""
    if (kept := _NOTED.pop(job.scratch.folder, None)) is not None:
        return kept
    path = job.scratch.path(FILE_NAME)
    if not exists(path):
        return None
    document = json.loads(read_bytes(path))
    return KINDS[document["kind"]](document["message"])
