"""Say which batch a step stumbled over: its step and epoch, what it holds, and the blocks it was drawn from."""

import posixpath
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from penstock_shared.errors import DataRefused, PenstockError
from penstock_training.data.lanes import window_ranges
from penstock_training.data.order import cut, epoch_order, start_of_step, window_rows
from penstock_training.fitting.checkpoint import PREFIX, Checkpoints
from penstock_training.fitting.faults import RunTimeFault
from penstock_training.fitting.run import Run
from penstock_training.fitting.step import NotFinite

MOST_SHARDS = 8

Batch = dict[str, np.ndarray]


def not_finite(run: Run, checkpoints: Checkpoints, step: int) -> NotFinite:
    """Return the error for a loss that is no finite number, at `step`, counted from 0."""
    batch = next(_batches(run, step))
    bad = [name for name, values in batch.items() if not np.isfinite(values).all()]
    remedy = (
        f"numbers of {', '.join(bad)} are not finite: reject or clip them when preparing"
        if bad
        else "lower optimizer.*.learning_rate and fit into a new --workdir"
    )
    found = f"{_place(run, step)}: the loss is not a finite number; {_last_good(checkpoints)}; {remedy}"
    return NotFinite(f"{found}\n{_held(run, step, batch)}")


def at_batch(fault: RunTimeFault, run: Run, first_step: int) -> PenstockError:
    """Return the error for a graph that failed in a call that began at `first_step`, counted from 0.

    It is DataRefused naming table, feature and values where a batch of that call has ids outside their vocabulary.
    """
    # Ops of a step run side by side, so that the count may or may not have gone up for the step that failed.
    last_step = min(int(run.trainer.steps_taken.numpy()), run.steps - 1)
    for step, batch in zip(range(first_step, last_step + 1), _batches(run, first_step), strict=False):
        if strays := run.inputs.strays(batch):
            return DataRefused(f"{_place(run, step)}: {strays}\n{_held(run, step, batch)}")
    place = _place(run, last_step)
    return RunTimeFault(f"{place}, or the one before: {fault}\n{_held(run, last_step, next(_batches(run, last_step)))}")


def drawn_from(run: Run, step: int) -> list[str]:
    """Return the shards, with the numbers of their blocks, that hold the window that a step's batch is drawn from."""
    training, feed = run.recipe.training, run.feed
    epoch, step_of_epoch = divmod(step, run.steps_per_epoch)
    lane_batch_rows = training.batch_rows // training.lanes
    rows = window_rows(training.window_blocks, run.dataset.manifest.layout.rows_per_block, lane_batch_rows)
    window, _ = start_of_step(rows, lane_batch_rows, step_of_epoch)
    blocks = feed.blocks.take(epoch_order(len(feed.blocks.rows), training.seed, epoch))
    lanes = range(training.lanes)
    first, end = (
        found[: len(lanes)] for found in window_ranges(lanes, len(lanes), int(blocks.rows.sum()), rows, window)
    )
    held = cut(blocks, first, np.minimum(end, first + rows)).blocks
    shards = run.dataset.split(training.split).shards
    found = []
    for shard in np.unique(held.shards):
        offsets = feed.blocks.offsets[feed.blocks.shards == shard]
        numbers = np.unique(np.searchsorted(offsets, held.offsets[held.shards == shard]))
        found.append(f"{shards[shard].path} block {_runs(numbers)}")
    return found


def _batches(run: Run, step: int) -> Iterator[Batch]:
    training, feed = run.recipe.training, run.feed
    epoch, first = divmod(step, run.steps_per_epoch)
    batches = feed.training_batches(training.seed, epoch, first, training.window_blocks, training.lanes)
    return ({name: values.numpy() for name, values in batch.items()} for batch in batches)


def _place(run: Run, step: int) -> str:
    return f"step {step + 1} of {run.steps}, epoch {step // run.steps_per_epoch + 1}"


def _held(run: Run, step: int, batch: Batch) -> str:
    found = drawn_from(run, step)
    more = f"; {len(found) - MOST_SHARDS} more shards" if len(found) > MOST_SHARDS else ""
    ranges = ", ".join(_range(name, values) for name, values in batch.items())
    return f"  batch: {ranges}\n  drawn from: {'; '.join(found[:MOST_SHARDS])}{more}"


def _range(name: str, values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    among = f" ({values.size - finite.size} of {values.size} not finite)" if finite.size < values.size else ""
    return f"{name} " + (
        f"{finite.min():g} to {finite.max():g}{among}" if finite.size else f"without a finite number{among}"
    )


def _last_good(checkpoints: Checkpoints) -> str:
    """Return which checkpoint is the newest whose variables are all finite; reads them one by one."""
    steps = checkpoints.steps()
    for step in steps:
        reader = tf.train.load_checkpoint(posixpath.join(checkpoints.path(step), PREFIX))
        dtypes = reader.get_variable_to_dtype_map()
        if all(np.isfinite(reader.get_tensor(name)).all() for name, dtype in dtypes.items() if dtype.is_floating):
            return f"the last good checkpoint is {checkpoints.path(step)}"
    if steps:
        return f"no checkpoint is good: those kept ({', '.join(map(str, steps))}) hold numbers that are not finite"
    return "there is no checkpoint yet"


def _runs(numbers: np.ndarray) -> str:
    """Return ascending numbers as text, those in a row as their first and last."""
    pieces = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(str(piece[0]) if len(piece) == 1 else f"{piece[0]} to {piece[-1]}" for piece in pieces)
