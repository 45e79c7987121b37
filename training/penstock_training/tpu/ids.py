"""Reckon on the host, beside a batch, the ids that each replica's step will look up on embedding cores."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from penstock_training.data.feed import Feed
from penstock_training.data.lanes import Host
from penstock_training.fitting.faults import MODEL_ERRORS
from penstock_training.fitting.step import Trainer
from penstock_training.recipe import Recipe
from penstock_training.strategies.replica import Replica, divide, part_of
from penstock_training.tpu.configs import Lookup, name_lookups
from penstock_training.tpu.stand_in import CoreTable, Lookups

Batch = dict[str, tf.Tensor]
# Of (a replica's number, a step, its rows): the ids int32 of each lookup by name.
Ids = Callable[[tf.Tensor, tf.Tensor, Batch], Batch]


def batch_of_chip(feed: Feed, recipe: Recipe, rows: int) -> dict[str, tf.TensorSpec]:
    """Return what a chip is given of a batch of which it takes `rows` rows."""
    training = recipe.training
    whole = feed.training_batches(training.seed, 0, 0, training.window_blocks, training.lanes).element_spec
    return {name: tf.TensorSpec([rows, *spec.shape[1:]], spec.dtype) for name, spec in whole.items()}


def find_ids(
    trainer: Trainer, stand_ins: Lookups, own: dict[str, tf.TensorSpec], replicas: int
) -> tuple[list[Lookup], Ids]:
    """Return the lookups that a step of one of `replicas` makes of its `own` rows, and what reckons their ids.

    What reckons them reads no variable, so that a host can do it whatever devices hold the variables.
    """
    names, found = list(own), list[tuple[CoreTable, int]]()

    def look(number: tf.Tensor, step: tf.Tensor, *features: tf.Tensor) -> list[tf.Tensor]:
        rows = dict(zip(names, features, strict=True))
        with stand_ins.asking() as asked:
            trainer.scored(rows, part_of(rows, Replica(number, replicas)), step)
        found.extend((table, int(ids.shape.num_elements())) for table, ids in asked)
        return [tf.reshape(tf.cast(ids, tf.int32), [-1]) for _, ids in asked]

    specs = [tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int64), *own.values()]
    try:
        # Unlike a tf.function, it does not make its outputs wait for what reads variables.
        whole = tf.compat.v1.wrap_function(look, specs)
    except MODEL_ERRORS as fault:
        if (blamed := trainer.parts.blamed(fault)) is None:
            raise
        raise blamed from fault
    lookups = name_lookups(found)
    reckon = _needed(whole.graph, whole.inputs[: len(specs)], whole.outputs)

    def ids(number: tf.Tensor, step: tf.Tensor, rows: Batch) -> Batch:
        held = reckon([number, step, *(rows[name] for name in names)])
        return {lookup.name: value for lookup, value in zip(lookups, held, strict=True)}

    return lookups, ids if lookups else lambda number, step, rows: {}


def _needed(
    graph: Any, inputs: list[tf.Tensor], outputs: list[tf.Tensor]
) -> Callable[[list[tf.Tensor]], list[tf.Tensor]]:
    """Return a function of `inputs`, for use inside a graph, that makes only what `outputs` need of another.

    Beside the ids, the trace makes towers and reads their variables, which a function that is cut by TensorFlow's own
    `prune` goes on to hold.
    """
    needed, waiting = set[str](), [tensor.op for tensor in outputs]
    while waiting:
        op = waiting.pop()
        if op.name not in needed:
            needed.add(op.name)
            waiting += [*(tensor.op for tensor in op.inputs), *op.control_inputs]
    whole = graph.as_graph_def()
    kept = tf.compat.v1.GraphDef(versions=whole.versions, library=whole.library)
    kept.node.extend(node for node in whole.node if node.name in needed)
    held = {internal.name: external for external, internal in graph.captures if internal.op.name in needed}
    names = [tensor.name for tensor in outputs]

    def make(given: list[tf.Tensor]) -> list[tf.Tensor]:
        pairs = zip(inputs, given, strict=True)
        captured = {name: tf.identity(value) for name, value in held.items()}
        fed = {tensor.name: value for tensor, value in pairs if tensor.op.name in needed}
        made: list[tf.Tensor] = tf.graph_util.import_graph_def(kept, fed | captured, names, name="ids")
        return made

    return make


def with_ids(batches: tf.data.Dataset, first_step: int, ids: Ids, replicas: int, host: Host) -> tf.data.Dataset:
    """Return (rows, ids) of each of a host's replicas in turn, of each batch, the first of which is `first_step`'s."""
    per_host = replicas // host.count

    def divided(step: tf.Tensor, batch: Batch) -> tuple[Batch, Batch]:
        parts = []
        for number in range(host.index * per_host, (host.index + 1) * per_host):
            rows, _ = divide(batch, Replica(number, replicas), host)
            parts.append((rows, ids(tf.constant(number), step, rows)))
        stacked: tuple[Batch, Batch] = tf.nest.map_structure(lambda *values: tf.stack(values), *parts)
        return stacked

    numbered = batches.enumerate(first_step).map(divided, tf.data.AUTOTUNE, deterministic=True)
    return numbered.flat_map(lambda rows, ids: tf.data.Dataset.from_tensor_slices((rows, ids)))
