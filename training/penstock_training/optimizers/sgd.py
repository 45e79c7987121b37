"""Step along the gradient of the rows that a batch touched."""

import tensorflow as tf

from penstock_training.optimizers.rows import RowOptimizer
from penstock_training.recipe import Sgd


class RowSgd(RowOptimizer):
    """Step along the gradient."""

    def __init__(self, tables: list[tf.Variable], options: Sgd) -> None:
        """Take the options of the recipe."""
        self.options = options
        super().__init__(tables)

    def update(
        self, rows: tf.Tensor, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Subtract learning_rate x gradient."""
        return rows - self.options.learning_rate * gradient, {}
