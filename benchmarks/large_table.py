"""Train a table of 100 million rows and save and restore a checkpoint of it; print what memory each part took.

    python benchmarks/large_table.py --folder /tmp/large [--rows 100_000_000] [--steps 300]

The table has 16 columns and Adagrad's accumulators beside it: 12.8 GB, which the folder must have room for, too. Held
twice, at any time, it would not fit into 24 GiB.
"""

import argparse
import posixpath
import re
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import penstock_training  # noqa: F401  (sets the environment TensorFlow reads when it is imported)

import tensorflow as tf  # isort: skip

from penstock_training.fitting.state import State
from penstock_training.models.base import normal_table
from penstock_training.optimizers import ROW_OPTIMIZERS
from penstock_training.recipe import Adagrad

DIMENSION, BATCH_ROWS = 16, 8192


class Trained:
    """Hold a table, its optimiser and the steps taken, and bring the rows of a batch to length one."""

    def __init__(self, rows: int) -> None:
        """Make the table and its slots."""
        self.table = normal_table("users", rows, DIMENSION, 0.05, 1)
        self.optimizer = ROW_OPTIMIZERS["adagrad"]([self.table], Adagrad(kind="adagrad"))
        self.steps = tf.Variable(0, dtype=tf.int64)
        self.state = State({"users": self.table}, self.optimizer.slots, tf.train.Checkpoint(steps=self.steps))

    @tf.function
    def step(self, ids: tf.Tensor) -> tf.Tensor:
        """Take a step on the rows `ids` and return the loss."""
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.reduce_sum(tf.square(tf.gather(self.table, ids)), axis=1) - 1))
        self.optimizer.apply(self.table, tape.gradient(loss, self.table), self.steps)
        self.steps.assign_add(1)
        return loss

    def train(self, steps: int, random: np.random.Generator) -> list[float]:
        """Take steps on batches drawn evenly, and return the seconds of each."""
        seconds = []
        for _ in range(steps):
            ids = tf.constant(random.integers(0, self.table.shape[0], BATCH_ROWS))
            started = time.perf_counter()
            self.step(ids)
            seconds.append(time.perf_counter() - started)
        return seconds

    def sample(self, ids: tf.Tensor) -> bytes:
        """Return the bits of some rows and their slots."""
        slots = self.optimizer.read_slots(self.table, ids)
        held: bytes = tf.gather(self.table, ids).numpy().tobytes()
        return held + b"".join(slot.numpy().tobytes() for slot in slots.values())


def peak_gib() -> float:
    """Return the most memory this process ever had resident, in GiB."""
    held = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert held is not None
    return int(held[1]) / (1 << 20)


def measured(what: str, work: Callable[[], object]) -> None:
    """Do something and print the time it took and the peak so far."""
    started = time.perf_counter()
    work()
    print(f"{what:22s} {time.perf_counter() - started:8.1f} s   peak {peak_gib():6.2f} GiB", flush=True)


def main() -> None:
    """Make, train, save, damage, restore, train on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="for the checkpoint; must not exist, is deleted at the end")
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--steps", type=int, default=300)
    flags = parser.parse_args()
    Path(flags.folder).mkdir(parents=True)
    prefix, random = posixpath.join(flags.folder, "state"), np.random.default_rng(0)
    held: list[Trained] = []
    print(f"{'TensorFlow':22s} {'':10s}   peak {peak_gib():6.2f} GiB")
    measured("make table and slots", lambda: held.append(Trained(flags.rows)))
    trained, seconds = held[0], []
    measured(f"{flags.steps} steps", lambda: seconds.extend(trained.train(flags.steps, random)))
    print(f"{'':22s} {1000 * statistics.median(seconds):8.2f} ms the median step, of {BATCH_ROWS} rows")
    kept = tf.constant(random.integers(0, flags.rows, 1 << 16))
    before = trained.sample(kept)
    measured("save", lambda: trained.state.write(prefix))
    measured(f"{flags.steps} steps", lambda: trained.train(flags.steps, random))
    measured("restore", lambda: trained.state.read(prefix))
    if trained.sample(kept) != before or int(trained.steps) != flags.steps:
        raise SystemExit("large_table.py: found other rows or slots after restoring than were saved, expected the same")
    measured(f"{flags.steps} steps", lambda: trained.train(flags.steps, random))
    shutil.rmtree(flags.folder)


if __name__ == "__main__":
    main()
