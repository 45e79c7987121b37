"""Train two towers with the in-batch softmax, ours beside the basic retrieval tutorial of TensorFlow Recommenders.

    python benchmarks/two_tower.py [--rows 1000000] [--users 200000] [--items 20000] [--rounds 3]

The alternative is what the tutorial has its readers write: StringLookup and Embedding on either side, tasks.Retrieval
without metrics, Adagrad 0.1, shuffle(100_000).batch(8192).cache() and model.fit, on raw ids held in memory. Ours reads
the dataset that `penstock-data build` makes of the same log, by the feed and the trainer of `fit`: once with the
tutorial's options (no logQ, accidental hits not masked), once with our defaults. Both train on the same rows, in
vectors of 32, batches of 8192 and with the same number of ids. Whole epochs are timed, in turn; before that, one epoch
of each builds graphs and fills the alternative's cache.

What bounds ours is told from parts of a step, each measured by itself on a held batch right after an epoch, beside the
dense product of all rows by all columns and a bare step around it (product, softmax, both products of the gradient). A
batch repeats items, so that ours multiplies by fewer columns than the batch has rows. What is left of a step when its
parts are taken off is reckoned from measurements that follow each other, and told with its quartiles; where they do not
lie above zero, other work on the machine was louder than it.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
from measured import OURS, run

import penstock_training  # noqa: F401  (sets the environment TensorFlow reads when it is imported)

import tensorflow as tf  # isort: skip
import tensorflow_recommenders as tfrs  # isort: skip

from penstock_training.data.dataset import open_dataset
from penstock_training.fitting.run import Run, build_run, check_run, make_deterministic
from penstock_training.fitting.softmax import cross_entropy
from penstock_training.models.base import log_probability
from penstock_training.recipe import parse_recipe

BATCH_ROWS, DIMENSION = 8192, 32
STEPS_PER_CALL = 50
REPEATS = 10
TARGET = 2
SPEC = """
name: bench
source: {{files: {log}/*.parquet, format: parquet}}
columns:
  user_id: {{role: user, vocabulary: {{oov_buckets: 1, of: all}}}}
  item_id: {{role: item, vocabulary: {{oov_buckets: 1, of: all}}}}
  timestamp: {{role: time, dtype: int64}}
split: {{by: time, test_fraction: 0.1}}
shuffle: {{seed: 17}}
output: {{layout: blocks}}
"""
RECIPES = {
    "ours, the tutorial's options": """
task: retrieval
model: {kind: two_tower, dimension: 32}
loss: {kind: in_batch_softmax, log_q: false, mask_accidental_hits: false}
optimizer: {embeddings: {kind: adagrad, learning_rate: 0.1, initial_accumulator: 0.1, epsilon: 1.0e-7}}
training: {epochs: 1, batch_rows: 8192}
""",
    "ours, our defaults": """
task: retrieval
model: {kind: two_tower, dimension: 32}
loss: {kind: in_batch_softmax}
training: {epochs: 1, batch_rows: 8192}
""",
}


class Tutorial(tfrs.Model):
    """Score raw ids by two embeddings."""

    def __init__(self, users: np.ndarray, items: np.ndarray) -> None:
        """Take all distinct ids of both sides."""
        super().__init__()
        self.user_model, self.item_model = self._tower(users), self._tower(items)
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Return the loss of a batch of raw ids."""
        return self.task(self.user_model(features["user_id"]), self.item_model(features["item_id"]))

    def _tower(self, ids: np.ndarray) -> tf.keras.Model:
        lookup = tf.keras.layers.StringLookup(vocabulary=ids, mask_token=None)
        return tf.keras.Sequential([lookup, tf.keras.layers.Embedding(len(ids) + 1, DIMENSION)])


def make_data(folder: Path, rows: int, users: int, items: int) -> tuple[str, dict[str, np.ndarray]]:
    """Write a log, build its dataset; return the manifest's path and the training rows' raw ids, as bytes."""
    log, spec = folder / "log", folder / "spec.yaml"
    sizes = ["--rows", str(rows), "--users", str(users), "--items", str(items)]
    run([*OURS, "generate", str(log), *sizes])
    spec.write_text(SPEC.format(log=log))
    manifest = run([*OURS, "build", str(spec), "--out", str(folder / "out")]).output.splitlines()[-1]
    splits = open_dataset(manifest).manifest.splits
    before = int(splits["test"].rule.rpartition(">= ")[2])
    table = ds.dataset(log, format="parquet").to_table(["user_id", "item_id"], filter=pc.field("timestamp") < before)
    if table.num_rows != splits["train"].rows:
        raise SystemExit(f"not the same rows: {table.num_rows:,} of the log, {splits['train'].rows:,} of the dataset")
    return manifest, {name: table[name].cast("string").to_numpy().astype(bytes) for name in table.column_names}


def tutorial_epoch(log: dict[str, np.ndarray]) -> Callable[[], int]:
    """Return an epoch of the tutorial's model, which returns its rows."""
    rows = len(log["user_id"])
    model = Tutorial(*(np.unique(column) for column in log.values()))
    model.compile(optimizer=tf.keras.optimizers.Adagrad(learning_rate=0.1))
    batches = tf.data.Dataset.from_tensor_slices(log).shuffle(100_000).batch(BATCH_ROWS).cache()

    def epoch() -> int:
        model.fit(batches, epochs=1, verbose=0)
        return rows

    return epoch


def our_run(manifest: str, recipe_text: str) -> Run:
    """Return a run as `fit` sets it up."""
    recipe, dataset = parse_recipe(recipe_text, "recipe"), open_dataset(manifest)
    return build_run(recipe, dataset, check_run(recipe, "recipe", dataset))


def our_epoch(ours: Run) -> Callable[[], int]:
    """Return an epoch of a run, which returns the rows of its whole batches; each has an order of its own."""
    training, numbers = ours.recipe.training, iter(range(1 << 30))

    def epoch() -> int:
        batches = iter(ours.feed.training_batches(training.seed, next(numbers), 0, training.window_blocks))
        for step in range(0, ours.steps_per_epoch, STEPS_PER_CALL):
            ours.trainer.run(batches, min(STEPS_PER_CALL, ours.steps_per_epoch - step))
        return ours.steps_per_epoch * BATCH_ROWS

    return epoch


def milliseconds(calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the times of calls that take turns, REPEATS of each after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: found[1:] for name, found in times.items()}


def told(differences: list[float]) -> str:
    """Return the median of differences in milliseconds with their quartiles, or that noise hides it."""
    low, middle, high = statistics.quantiles(differences, n=4, method="inclusive")
    return f"{middle:.0f} ({low:.0f} to {high:.0f})" if low > 0 else f"within noise ({low:.0f} to {high:.0f})"


def parts_of_a_step(ours: Run) -> dict[str, Callable[[], object]]:
    """Return calls that do a step and what it consists of, each by itself, on one batch; they spoil the model."""
    trainer, model, recipe = ours.trainer, ours.trainer.model, ours.recipe
    batch = next(iter(ours.feed.training_batches(1, 0, 0, recipe.training.window_blocks)))
    users, items = batch[ours.inputs.user.name], batch[ours.inputs.item.name]
    queries, candidates = model.queries(users), model.candidates(items)
    log_q = tf.constant(log_probability(ours.evaluator.item_counts)) if recipe.loss.log_q else None
    held = iter(tf.data.Dataset.from_tensors(batch).repeat())

    @tf.function
    def softmax() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([queries, candidates])
            own = tf.range(BATCH_ROWS)
            loss = cross_entropy(queries, candidates, items, own, log_q, recipe.loss.mask_accidental_hits)
        return tape.gradient(loss, [queries, candidates])

    @tf.function
    def update() -> None:
        for table, ids in zip(model.tables, (users, items), strict=True):
            rows = tf.zeros([BATCH_ROWS, table.shape[1]])
            trainer.row_optimizer.apply(table, tf.IndexedSlices(rows, ids), tf.constant(0, tf.int64))

    return {"step": lambda: trainer.run(held, 1), "softmax": softmax, "optimiser": update}


def add_parts(parts: dict[str, list[float]], times: dict[str, list[float]], epoch_step: float) -> None:
    """Add the times of a round, the rest of each step, and what a step of the epoch before took beyond a held batch."""
    for name, found in times.items():
        parts[name] += found
    parts["rest"] += [step - softmax - optimiser for step, softmax, optimiser in zip(*times.values(), strict=True)]
    parts["input"].append(epoch_step - statistics.median(times["step"]))


def floor(rows: int) -> dict[str, float]:
    """Return the milliseconds of the dense product of a batch, and of a softmax with its two products backwards."""
    queries, candidates = (tf.random.stateless_normal([rows, DIMENSION], [1, seed]) for seed in (1, 2))

    @tf.function
    def product() -> tf.Tensor:
        return tf.matmul(queries, candidates, transpose_b=True)

    @tf.function
    def step() -> tuple[tf.Tensor, tf.Tensor]:
        shares = tf.nn.softmax(product())
        return tf.matmul(shares, candidates), tf.matmul(shares, queries, transpose_a=True)

    return {name: statistics.median(times) for name, times in milliseconds({"product": product, "step": step}).items()}


def main() -> None:
    """Train in turn, print the medians, their ratios, and what bounds ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3, help="at least 2, to tell what is noise")
    flags = parser.parse_args()
    if flags.rounds < 2:
        parser.error(f"--rounds: found {flags.rounds}, expected at least 2")
    with tempfile.TemporaryDirectory() as folder:
        manifest, log = make_data(Path(folder), flags.rows, flags.users, flags.items)
        # As fit does; on processors the alternative is as fast with it as without.
        make_deterministic(1)
        runs = {name: our_run(manifest, recipe) for name, recipe in RECIPES.items()}
        epochs = {"TFRS tutorial": tutorial_epoch(log)} | {name: our_epoch(ours) for name, ours in runs.items()}
        for epoch in epochs.values():
            epoch()
        calls = {name: parts_of_a_step(ours) for name, ours in runs.items()}
        parts: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in runs}
        rates: dict[str, list[float]] = {name: [] for name in epochs}
        for number in range(flags.rounds):
            for name, epoch in epochs.items():
                started = time.perf_counter()
                rates[name].append(epoch() / (time.perf_counter() - started))
                if name in runs:
                    add_parts(parts[name], milliseconds(calls[name]), 1000 * BATCH_ROWS / rates[name][-1])
            shown = ", ".join(f"{name} {rate[-1]:,.0f}" for name, rate in rates.items())
            print(f"round {number}, examples/s: {shown}", flush=True)
        medians = {name: statistics.median(rate) for name, rate in rates.items()}
        print(f"{len(log['user_id']):,} training rows, {flags.users:,} users, {flags.items:,} items at most")
        for name, rate in medians.items():
            print(f"{name:28s} {rate:10,.0f} examples/s {rate / medians['TFRS tutorial']:6.2f} x (target: {TARGET})")
        for name, times in parts.items():
            step, softmax, optimiser = (statistics.median(times[part]) for part in ("step", "softmax", "optimiser"))
            print(
                f"{name}, ms: a step of an epoch {1000 * BATCH_ROWS / medians[name]:.0f}: on a held batch {step:.0f} "
                f"(softmax {softmax:.0f}, optimiser {optimiser:.0f}, rest {told(times['rest'])}), "
                f"input and the start of the epoch {told(times['input'])}"
            )
        times = floor(BATCH_ROWS)
        rate = 2 * BATCH_ROWS**2 * DIMENSION / times["product"] / 1e6
        print(
            f"dense: product {times['product']:.0f} ms ({rate:.0f} GFLOP/s), bare softmax step {times['step']:.0f} ms"
        )


if __name__ == "__main__":
    main()
