"""Trace what the TensorCore of one chip does in a step: towers, loss, gradients, dense updates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from penstock_training.data.dataset import Dataset
from penstock_training.data.entities import load_attributes
from penstock_training.data.inputs import Inputs
from penstock_training.data.vocabulary import load_counts
from penstock_training.fitting.step import Trainer
from penstock_training.models import build_model
from penstock_training.recipe import Recipe
from penstock_training.tpu.stand_in import CoreTable, Lookups, table_creator
from penstock_training.tpu_check.compile import CompilerRefused
from penstock_training.tpu_check.one_chip import Others
from penstock_training.tpu_check.quiet import quiet_native


@dataclass(frozen=True)
class Exchange:
    """Hold the bytes that a chip gets or gives in a step: activations, other chips' rows, sums of dense gradients."""

    activation_bytes: int
    gathered_bytes: int
    summed_bytes: int


@dataclass(frozen=True)
class Traced:
    """Hold the step of one chip: the function, what it takes, its graph and what it exchanges."""

    function: Any
    arguments: tuple[Any, ...]
    graph: Any
    exchange: Exchange


def planned_trainer(recipe: Recipe, dataset: Dataset, inputs: Inputs, least_rows: int, lookups: Lookups) -> Trainer:
    """Build the recipe's trainer with stand-ins of tables of at least `least_rows` rows, which hold no memory."""
    item_counts = load_counts(dataset, str(inputs.item.vocabulary))
    users = load_attributes(dataset, str(inputs.user.vocabulary), inputs.user_features)
    items = load_attributes(dataset, str(inputs.item.vocabulary), inputs.item_features)
    with tf.variable_creator_scope(table_creator(least_rows, lookups)):
        # The mean label is a number to start from, which no shape depends on.
        model = build_model(recipe, inputs.user_vocabulary.size, item_counts, 0.0, users, items)
        return Trainer(recipe, inputs, model, item_counts)


def trace_step(trainer: Trainer, batch: dict[str, tf.TensorSpec], lookups: Lookups, chips: int = 1) -> Traced:
    """Trace the step of one of `chips` chips, given this batch.

    Its number, the activations of tables on embedding cores and what it gathers from other chips are inputs of it.
    """
    tables = [table for table in trainer.model.tables if not isinstance(table, CoreTable)]
    names, dense, others = list(batch), trainer.model.dense_variables, Others(chips)

    def loss(features: Sequence[tf.Tensor]) -> tf.Tensor:
        step = trainer.steps_taken + trainer.steps_before
        return trainer.loss(dict(zip(names, features, strict=True)), step) / chips

    def first(number: tf.Tensor, *features: tf.Tensor) -> tf.Tensor:
        with others.giving(number):
            return loss(features)

    def step(number: tf.Tensor, *inputs: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        activations, gathered = inputs[len(names) :][: len(lookups.specs)], inputs[len(names) + len(lookups.specs) :]
        received = [*activations, *(rows for rows in gathered if rows.dtype.is_floating)]
        with tf.GradientTape() as tape, lookups.giving(list(activations)), others.giving(number, list(gathered)):
            tape.watch(received)
            value = loss(inputs[: len(names)])
        of_received, of_tables, of_dense = tape.gradient(value, (received, tables, dense))
        for table, gradient in zip(tables, of_tables, strict=True):
            trainer.row_optimizer.apply_densely(table, gradient, trainer.steps_taken + trainer.steps_before)
        if dense:
            trainer.dense_optimizer.apply_gradients(zip(of_dense, dense, strict=True))
        trainer.steps_taken.assign_add(1)
        return value, [gradient for gradient in of_received if gradient is not None]

    # The first trace finds what is looked up and gathered, the second takes it as inputs.
    own = (tf.TensorSpec([], tf.int32), *batch.values())
    tf.function(first, jit_compile=True).get_concrete_function(*own)
    function, arguments = tf.function(step, jit_compile=True), (*own, *lookups.specs, *others.specs)
    exchange = Exchange(_bytes(lookups.specs), _bytes(others.specs), _bytes([*tables, *dense]) if chips > 1 else 0)
    return Traced(function, arguments, function.get_concrete_function(*arguments).graph, exchange)


def _bytes(tensors: Sequence[Any]) -> int:
    return sum((tensor.shape.num_elements() or 0) * tensor.dtype.size for tensor in tensors)


def lowered(traced: Traced) -> bytes:
    """Return the step as a serialised HLO module, as lowered for a CPU: TensorFlow lowers for a TPU only beside one.

    Raises CompilerRefused where XLA needs to know a value before the step, such as an axis, and does not.
    """
    with quiet_native():
        lower = traced.function.experimental_get_compiler_ir(*traced.arguments)
        try:
            module: bytes = lower(stage="hlo_serialized", platform_name="CPU")
        except (ValueError, tf.errors.OpError) as fault:
            raise CompilerRefused(str(fault)) from None
    return module
