"""Train in several processes, on one or several machines, each with a copy of all variables; TF_CONFIG names them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from penstock_shared.errors import PenstockError, UserMistake
from penstock_training.data.lanes import Host
from penstock_training.strategies.placement import Placement

VARIABLE = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
# The one task type before the workers, where a platform names its first process so.
CHIEF = "chief"
# What TensorFlow raises in the others when a process is gone; it depends on what they were doing.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)


class WorkerLost(PenstockError):
    """Say that another process of the run can no longer be reached."""


def multi_worker(replicas: int | None) -> Placement:
    """Return the placement of this process among those that TF_CONFIG names; waits until all of them are there.

    Raises UserMistake when TF_CONFIG is not set or does not name this process among at least two.
    """
    if replicas is not None:
        raise UserMistake("--replicas: --strategy multi-worker takes all devices of each process; leave --replicas out")
    host = host_of(os.environ.get(VARIABLE))
    return Placement(tf.distribute.MultiWorkerMirroredStrategy(), host)


def host_of(config: str | None) -> Host:
    """Return which process of how many a TF_CONFIG describes. Raises UserMistake."""
    if not config:
        raise UserMistake(f"--strategy multi-worker: {VARIABLE} is not set; set it in each process, as in {EXAMPLE}")
    try:
        document = json.loads(config)
        cluster, task = document["cluster"], document["task"]
        chiefs, workers = len(cluster.get(CHIEF, [])), len(cluster.get("worker", []))
        kind, index = task["type"], int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise UserMistake(f"{VARIABLE}: found {config!r} ({fault!r}), expected such as {EXAMPLE}") from None
    count = {CHIEF: chiefs, "worker": workers}.get(kind, 0)
    if not 0 <= index < count:
        raise UserMistake(f"{VARIABLE}: task {kind} {index} is none of {chiefs} chiefs and {workers} workers")
    if chiefs + workers < 2:
        raise UserMistake(f"{VARIABLE}: names {chiefs + workers} process, expected at least two; leave --strategy out")
    return Host(index if kind == CHIEF else chiefs + index, chiefs + workers)


@contextmanager
def others_heard(placement: Placement) -> Iterator[None]:
    """Raise WorkerLost when what is done inside fails since another process is gone."""
    try:
        yield
    except LOST as fault:
        if placement.host.count == 1:
            raise
        lines = [line for line in fault.message.splitlines() if line.strip()]
        reason = next((line for line in lines if "aborted" in line or "task" in line), lines[0])
        raise WorkerLost(
            f"worker {placement.host.index} of {placement.host.count}: cannot go on without another worker, or storage "
            f"({reason.strip()}); start all workers again with the same command to continue from the last checkpoint"
        ) from fault
