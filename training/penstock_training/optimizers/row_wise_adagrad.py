"""Divide each row's step by the root of its mean squared gradients so far: one number of state for a whole row."""

import tensorflow as tf

from penstock_training.optimizers.rows import RowOptimizer
from penstock_training.recipe import RowWiseAdagrad


class RowWiseAdagradOptimizer(RowOptimizer):
    """Keep one accumulator per row, the sum of its mean squared gradients.

    As in Mudigere et al. (ISCA 2022, arXiv 2104.05158) and FBGEMM's exact row-wise Adagrad, but for the epsilon, which
    is under the root as in the other Adagrad.
    """

    slot_names = ("accumulator",)

    def __init__(self, tables: list[tf.Variable], options: RowWiseAdagrad) -> None:
        """Take the options of the recipe."""
        self.options = options
        super().__init__(tables)

    def initial_slot(self, name: str) -> float:
        """Start from `initial_accumulator`, so that the first steps are bounded."""
        return self.options.initial_accumulator

    def slot_width(self, dimension: int) -> int:
        """Hold one number, however wide the row."""
        return 1

    def update(
        self, rows: tf.Tensor, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Subtract learning_rate x gradient / sqrt(accumulator + epsilon), the accumulator [rows, 1]."""
        accumulator = slots["accumulator"] + tf.reduce_mean(tf.square(gradient), axis=1, keepdims=True)
        change = self.options.learning_rate * gradient / tf.sqrt(accumulator + self.options.epsilon)
        return rows - change, {"accumulator": accumulator}
