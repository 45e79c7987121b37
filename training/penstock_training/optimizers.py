"""Update only the table rows that a batch touched, slots included, so that a step's cost does not grow with the table.

A table's gradient arrives as IndexedSlices. Duplicate ids are summed first, so that each row is updated once per step.
All reads and writes are gathers and scatters on the variable: a dense read would copy the whole table.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import tensorflow as tf

from penstock_training.recipe import Adagrad, Adam, Sgd


class RowOptimizer(ABC):
    """Apply sparse gradients to tables; a subclass is the formula and the slots it needs."""

    slot_names: tuple[str, ...] = ()

    def __init__(self, tables: list[tf.Variable]) -> None:
        """Create the slots of every table: its slots side by side in one variable, so that a row's lie together."""
        self.slots = {table_key(table): self._new_slots(table) for table in tables if self.slot_names}
        self.checkpointed = tf.train.Checkpoint(**self.slots)

    def apply(self, table: tf.Variable, gradient: tf.IndexedSlices, step: tf.Tensor) -> None:
        """Update the rows of `table` that `gradient` names; `step` counts from 0, int64.

        Raises TypeError on a dense gradient, which would make every step as slow as the table is large.
        """
        if not isinstance(gradient, tf.IndexedSlices):
            raise TypeError(
                f"table {table.name}: found a dense gradient {gradient}, expected IndexedSlices from gathers"
            )
        ids, place = tf.unique(tf.reshape(gradient.indices, [-1]))
        rows = tf.reshape(gradient.values, [-1, table.shape[1]])
        summed = tf.math.unsorted_segment_sum(rows, place, tf.size(ids))
        change, slots = self.update(summed, self.read_slots(table, ids), tf.cast(step + 1, tf.float32))
        if slots:
            updates = tf.concat([slots[name] for name in self.slot_names], axis=1)
            tf.raw_ops.ResourceScatterUpdate(resource=self.slots[table_key(table)].handle, indices=ids, updates=updates)
        tf.raw_ops.ResourceScatterSub(resource=table.handle, indices=ids, updates=change)

    def read_slots(self, table: tf.Variable, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the slots of the rows `ids` [n] of a table by name, each [n, dimension]."""
        if not self.slot_names:
            return {}
        held = tf.gather(self.slots[table_key(table)], ids)
        return dict(zip(self.slot_names, tf.split(held, len(self.slot_names), axis=1), strict=True))

    def initial_slot(self, name: str) -> float:
        """Return what a slot is filled with at the start."""
        return 0.0

    def _new_slots(self, table: tf.Variable) -> tf.Variable:
        filled = [tf.fill(table.shape, self.initial_slot(name)) for name in self.slot_names]
        return tf.Variable(tf.concat(filled, axis=1), trainable=False, name=f"{table_key(table)}.slots")

    @abstractmethod
    def update(
        self, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Return (what to subtract from the rows, their new slots), all [rows, dimension]; `step` counts from 1."""


class RowSgd(RowOptimizer):
    """Step along the gradient."""

    def __init__(self, tables: list[tf.Variable], options: Sgd) -> None:
        """Take the options of the recipe."""
        self.options = options
        super().__init__(tables)

    def update(
        self, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Subtract learning_rate x gradient."""
        return self.options.learning_rate * gradient, {}


class RowAdagrad(RowOptimizer):
    """Divide by the root of all squared gradients so far (Duchi et al., 2011)."""

    slot_names = ("accumulator",)

    def __init__(self, tables: list[tf.Variable], options: Adagrad) -> None:
        """Take the options of the recipe."""
        self.options = options
        super().__init__(tables)

    def initial_slot(self, name: str) -> float:
        """Start from `initial_accumulator`, so that the first steps are bounded."""
        return self.options.initial_accumulator

    def update(
        self, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Subtract learning_rate x gradient / sqrt(accumulator + epsilon)."""
        accumulator = slots["accumulator"] + tf.square(gradient)
        change = self.options.learning_rate * gradient / tf.sqrt(accumulator + self.options.epsilon)
        return change, {"accumulator": accumulator}


class LazyAdam(RowOptimizer):
    """Use Adam (Kingma and Ba, 2015) on the rows of the batch; the moments of other rows do not decay.

    This is what TPU embeddings do by default; the bias correction counts steps, not a row's own updates.
    """

    slot_names = ("first_moment", "second_moment")

    def __init__(self, tables: list[tf.Variable], options: Adam) -> None:
        """Take the options of the recipe."""
        self.options = options
        super().__init__(tables)

    def update(
        self, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Subtract learning_rate x corrected first moment / (root of the corrected second moment + epsilon)."""
        options = self.options
        first = options.beta_1 * slots["first_moment"] + (1 - options.beta_1) * gradient
        second = options.beta_2 * slots["second_moment"] + (1 - options.beta_2) * tf.square(gradient)
        corrected_first = first / (1 - tf.pow(options.beta_1, step))
        corrected_second = second / (1 - tf.pow(options.beta_2, step))
        change = options.learning_rate * corrected_first / (tf.sqrt(corrected_second) + options.epsilon)
        return change, {"first_moment": first, "second_moment": second}


ROW_OPTIMIZERS: dict[str, Callable[..., RowOptimizer]] = {"adagrad": RowAdagrad, "adam": LazyAdam, "sgd": RowSgd}

DENSE_OPTIMIZERS: dict[str, Callable[..., tf.keras.optimizers.Optimizer]] = {
    "adagrad": lambda options: tf.keras.optimizers.Adagrad(
        options.learning_rate, initial_accumulator_value=options.initial_accumulator, epsilon=options.epsilon
    ),
    "adam": lambda options: tf.keras.optimizers.Adam(
        options.learning_rate, options.beta_1, options.beta_2, options.epsilon
    ),
    "sgd": lambda options: tf.keras.optimizers.SGD(options.learning_rate),
}


def table_key(table: tf.Variable) -> str:
    """Return the name of a table in a checkpoint."""
    name: str = table.name.removesuffix(":0")
    return name.replace("/", ".")
