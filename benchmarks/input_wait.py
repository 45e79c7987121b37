"""Measure the share of its time that a two-tower run waits for input, at batches of 8192 rows.

    python benchmarks/input_wait.py [--rows 1000000] [--steps 120] [--rounds 3]

The run is that of `penstock-train fit`: in-batch softmax over towers of 32 columns with a hidden layer of 64, 200
thousand users and 50 thousand items, the full shuffle. Beside it the same steps on one batch that stays in memory: what
they take less is what the input costs in all, the processor time that it takes away from the steps included, which
waiting does not show where both share few cores. What they seem to wait is what the clock adds: on a busy machine a
thread is not woken at once.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from penstock_dataprep.records.blocks import Values

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "training"))

import penstock_training  # noqa: F401  (sets the environment TensorFlow reads when it is imported)

import tensorflow as tf  # isort: skip
from tiny_dataset import TinyColumn, TinyVocabulary, write_dataset  # isort: skip

from penstock_training.data.dataset import open_dataset
from penstock_training.fitting.run import Run, build_run, check_run, make_deterministic
from penstock_training.recipe import parse_recipe

USERS, ITEMS, TEST_ROWS = 200_000, 50_000, 1000
TARGET = 0.02
RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 32, hidden: [64]}
loss: {kind: in_batch_softmax}
training: {epochs: 1, batch_rows: 8192}
evaluation: {k: [10], every_epochs: 0}
"""
COLUMNS = [
    TinyColumn("user_id", "user", "int32", "u24", vocabulary="user_id"),
    TinyColumn("item_id", "item", "int32", "u16", vocabulary="item_id"),
    TinyColumn("rating", "label", "float32", "f16"),
    TinyColumn("timestamp", "time", "int64", "u32"),
]


def write_log(folder: Path, rows: int) -> Path:
    """Write a dataset of random rows whose ids are all known, and return its manifest's path."""
    random = np.random.default_rng(0)
    vocabularies = {
        name: TinyVocabulary("int64", dict.fromkeys(range(size), 1))
        for name, size in (("user_id", USERS), ("item_id", ITEMS))
    }

    def shard(count: int) -> dict[str, Values]:
        ids = {name: held.size - 1 - random.integers(0, len(held.ids), count) for name, held in vocabularies.items()}
        return {
            **{name: Values(numbers) for name, numbers in ids.items()},
            "rating": Values((random.integers(1, 11, count) / 2).astype(np.float32)),
            "timestamp": Values(random.integers(1_500_000_000, 1_700_000_000, count)),
        }

    splits = {"train": [shard(rows // 4) for _ in range(4)], "test": [shard(TEST_ROWS)]}
    return write_dataset(folder, COLUMNS, splits, vocabularies, rows_per_block=8192)


def epochs(run: Run) -> Iterator["tf.data.Iterator[dict[str, tf.Tensor]]"]:
    """Yield the batches of one epoch after another."""
    training, epoch = run.recipe.training, 0
    while True:
        yield iter(run.feed.training_batches(training.seed, epoch, 0, training.window_blocks))
        epoch += 1


def main() -> None:
    """Train for some rounds on the dataset and on one batch in turn; print the share of waiting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=120, help="steps of a round, at most those of an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(str(write_log(Path(folder), flags.rows)))
        recipe = parse_recipe(RECIPE, "recipe")
        inputs = check_run(recipe, "recipe", dataset)
        make_deterministic(recipe.training.seed)
        run = build_run(recipe, dataset, inputs)
        steps = min(flags.steps, run.steps_per_epoch)
        batch = next(next(epochs(run)))
        rest = tf.data.Dataset.from_tensors(batch).cache().repeat()
        run.trainer.run(iter(rest), 2)  # Traces the graph.
        shares: dict[str, list[float]] = {"dataset": [], "memory": []}
        ratios = []
        for number, batches in zip(range(flags.rounds), epochs(run), strict=False):
            milliseconds = {}
            for name, held in (("dataset", batches), ("memory", iter(rest))):
                started = time.perf_counter()
                waited = run.trainer.run(held, steps).input_wait_seconds
                seconds = time.perf_counter() - started
                shares[name].append(waited / seconds)
                milliseconds[name] = 1000 * seconds / steps
            ratios.append(milliseconds["dataset"] / milliseconds["memory"])
            print(
                f"round {number}: "
                + "; ".join(
                    f"{name} {milliseconds[name]:.1f} ms a step, wait {shares[name][-1]:.2%}" for name in shares
                )
            )
    waits = {name: statistics.median(found) for name, found in shares.items()}
    print(f"input wait {waits['dataset']:.2%}, target under {TARGET:.0%}; in memory {waits['memory']:.2%}")
    print(f"a step takes {statistics.median(ratios):.3f}x what it takes on one batch in memory")


if __name__ == "__main__":
    main()
