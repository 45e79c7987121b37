"""Run the command line in processes of their own that can be killed; TensorFlow is imported once for all of them."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from patience import PATIENCE_SECONDS


def start(log: Path, arguments: list[str], prepare: Callable[..., None] | None = None, *given: object) -> BaseProcess:
    """Start `penstock-train` with what it prints going to `log`; `prepare(*given)` runs in the process before it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["penstock_training.train"])
    process = context.Process(target=_command, args=(str(log), arguments, prepare, given))
    process.start()
    return process


def end_of(process: BaseProcess) -> int | None:
    """Wait for the end of a process and return its exit code, negative for the signal that killed it."""
    process.join(PATIENCE_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"the process was still running after {PATIENCE_SECONDS} s")
    return process.exitcode


def kill_after(step: int) -> None:
    """Make this process kill itself once it has taken `step` steps."""
    from penstock_training.fitting.step import Trainer

    whole = Trainer.run

    def run(trainer, batches, steps):  # type: ignore[no-untyped-def]
        done = whole(trainer, batches, min(steps, step - int(trainer.steps_taken.numpy())))
        if int(trainer.steps_taken.numpy()) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Trainer.run = run


def be_cores(least_rows: int, kill_step: int | None = None) -> None:
    """Make the strategy `tpu` that of the embedding layer's path for processors, and kill as `kill_after` does."""
    import tensorflow as tf

    from penstock_training.strategies import STRATEGIES, Placement

    STRATEGIES["tpu"] = lambda replicas: Placement(tf.distribute.get_strategy(), least_rows_on_cores=least_rows)
    if kill_step is not None:
        kill_after(kill_step)


def kill_in_save(step: int) -> None:
    """Make this process kill itself when the checkpoint of a step is written, but not sealed yet."""
    from penstock_training.fitting import checkpoint

    whole = checkpoint.seal

    def seal(folder, saved_step, identity):  # type: ignore[no-untyped-def]
        if saved_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(folder, saved_step, identity)

    checkpoint.seal = seal


def be_worker(index: int, ports: list[int], kill_step: int | None = None) -> None:
    """Make this process one of several workers on this machine, which kills itself after a step where one is given."""
    workers = [f"localhost:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
    if kill_step is not None:
        kill_after(kill_step)


def terminate_in_call(step: int) -> None:
    """Make this process send itself SIGTERM when it starts the call in which it takes step number `step`."""
    from penstock_training.fitting.step import Trainer

    whole = Trainer.run

    def run(trainer, batches, steps):  # type: ignore[no-untyped-def]
        if 0 < step - int(trainer.steps_taken.numpy()) <= steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(trainer, batches, steps)

    Trainer.run = run


def _command(log: str, arguments: list[str], prepare: Callable[..., None] | None, given: tuple[object, ...]) -> None:
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from penstock_training import cli

    if prepare is not None:
        prepare(*given)
    sys.exit(cli.main(arguments))
