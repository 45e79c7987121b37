"""Measure how fast the input of a training run is when nothing is done with it."""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import tensorflow as tf

from penstock_training.data.cache import Cache, cached
from penstock_training.data.damage import reading
from penstock_training.data.dataset import Dataset, check_files, open_dataset
from penstock_training.data.feed import Feed
from penstock_training.data.inputs import match
from penstock_training.data.order import steps_per_epoch
from penstock_training.fitting.workdir import to_json
from penstock_training.recipe import Recipe, load_recipe

# Between two looks at the clock.
BATCHES_PER_CALL = 16


@dataclass(frozen=True)
class InputSpeed:
    """Hold what was measured; the first batch and the time to it are not in the rates.

    `passes` says how often the split was read, `stored_bytes` how many of its bytes, and `cores` how many processor
    cores were busy meanwhile, with everything this process did.
    """

    rows: int
    batches: int
    stored_bytes: int
    passes: float
    seconds: float
    first_batch_seconds: float
    cores: float

    @property
    def rows_per_second(self) -> float:
        """Return the rate of rows."""
        return self.rows / self.seconds

    @property
    def batches_per_second(self) -> float:
        """Return the rate of batches."""
        return self.batches / self.seconds

    @property
    def stored_bytes_per_second(self) -> float:
        """Return the rate of bytes read from the split's shards."""
        return self.stored_bytes / self.seconds


def bench_input(
    recipe_path: str, manifest_path: str, settings: Sequence[str], cache: Cache | None, seconds: float, as_json: bool
) -> None:
    """Print how fast a recipe's training batches come; refuses recipe and dataset as fit does."""
    recipe = load_recipe(recipe_path, settings)
    dataset = open_dataset(manifest_path)
    names = match(recipe, recipe_path, dataset).names
    check_files(dataset, {recipe.training.split})
    if cache is not None:
        dataset = cached(dataset, {recipe.training.split}, cache, lambda line: print(line, file=sys.stderr))
    with reading(dataset, recipe.training.split):
        speed = measure(recipe, dataset, names, seconds)
    rates = ("rows_per_second", "batches_per_second", "stored_bytes_per_second")
    print(
        to_json({**asdict(speed), **{name: getattr(speed, name) for name in rates}})
        if as_json
        else describe(speed, recipe, dataset, names),
        end="",
    )


def measure(recipe: Recipe, dataset: Dataset, names: tuple[str, ...], seconds: float) -> InputSpeed:
    """Take the batches of one epoch after another for `seconds` and touch every feature, as a training step would."""
    training, split = recipe.training, dataset.split(recipe.training.split)
    batches_per_epoch = steps_per_epoch(split.rows, training.batch_rows)
    opened = time.perf_counter()
    feed = Feed(dataset, training.split, training.batch_rows, names)

    def epoch(number: int) -> "tf.data.Iterator[dict[str, tf.Tensor]]":
        return iter(feed.training_batches(training.seed, number, 0, training.window_blocks, training.lanes))

    take = taking()
    batches, number, left = epoch(0), 0, batches_per_epoch - 1
    take(batches, tf.constant(1))
    started, busy = time.perf_counter(), _processor_seconds()
    taken = 0
    while (passed := time.perf_counter() - started) < seconds or not taken:
        if not left:
            number, left = number + 1, batches_per_epoch
            batches = epoch(number)
        count = min(left, BATCHES_PER_CALL)
        take(batches, tf.constant(count))
        taken, left = taken + count, left - count
        passed = time.perf_counter() - started
    rows = taken * training.batch_rows
    return InputSpeed(
        rows=rows,
        batches=taken,
        stored_bytes=round(split.bytes * rows / split.rows),
        passes=rows / split.rows,
        seconds=passed,
        first_batch_seconds=started - opened,
        cores=(_processor_seconds() - busy) / passed,
    )


def taking() -> Callable[["tf.data.Iterator[dict[str, tf.Tensor]]", tf.Tensor], tf.Tensor]:
    """Return a function that takes so many batches in one call into the graph, and touches every feature."""

    @tf.function
    def take(batches: "tf.data.Iterator[dict[str, tf.Tensor]]", count: tf.Tensor) -> tf.Tensor:
        rows = tf.constant(0)
        for _ in tf.range(count):
            rows += tf.reduce_min([tf.shape(tensor)[0] for tensor in next(batches).values()])
        return rows

    held: Callable[[tf.data.Iterator[dict[str, tf.Tensor]], tf.Tensor], tf.Tensor] = take
    return held


def describe(speed: InputSpeed, recipe: Recipe, dataset: Dataset, names: tuple[str, ...]) -> str:
    """Return the measurement as text."""
    training, split = recipe.training, dataset.split(recipe.training.split)
    lines = [
        f"{dataset.manifest_path}: split {training.split}, {split.rows:,} rows in {split.blocks:,} blocks",
        f"{', '.join(names)} in batches of {training.batch_rows:,} rows, windows of {training.window_blocks} blocks, "
        f"{training.lanes} {'lane' if training.lanes == 1 else 'lanes'}",
        f"{speed.rows_per_second:>14,.0f}  rows/s",
        f"{speed.batches_per_second:>14,.1f}  batches/s",
        f"{speed.stored_bytes_per_second / 1e6:>14,.1f}  MB/s of shards",
        f"{speed.cores:>14.2f}  cores busy",
        f"{speed.first_batch_seconds:>14.2f}  s to the first batch",
        f"{speed.passes:>14.2f}  passes over the split in {speed.seconds:.1f} s",
    ]
    return "\n".join(lines) + "\n"


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
