"""Divide each number's step by the root of its squared gradients so far."""

import tensorflow as tf

from penstock_training.optimizers.rows import RowOptimizer
from penstock_training.recipe import Adagrad


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
        self, rows: tf.Tensor, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Subtract learning_rate x gradient / sqrt(accumulator + epsilon)."""
        accumulator = slots["accumulator"] + tf.square(gradient)
        change = self.options.learning_rate * gradient / tf.sqrt(accumulator + self.options.epsilon)
        return rows - change, {"accumulator": accumulator}
