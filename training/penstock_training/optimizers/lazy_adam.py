"""Use Adam on the rows that a batch touched."""

import tensorflow as tf

from penstock_training.optimizers.rows import RowOptimizer
from penstock_training.recipe import Adam


class LazyAdam(RowOptimizer):
    """Use Adam (Kingma and Ba, 2015) on the rows of the batch; the moments of other rows do not decay.

    This is what TPU embeddings do by default; the bias correction counts steps, not a row's own updates. As in the
    paper's section 2 and in tf.keras, epsilon is beside the root of the uncorrected second moment.
    """

    slot_names = ("first_moment", "second_moment")

    def __init__(self, tables: list[tf.Variable], options: Adam) -> None:
        """Take the options of the recipe."""
        self.options = options
        super().__init__(tables)

    def update(
        self, rows: tf.Tensor, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Subtract the corrected learning rate x first moment / (root of the second moment + epsilon)."""
        options = self.options
        first = options.beta_1 * slots["first_moment"] + (1 - options.beta_1) * gradient
        second = options.beta_2 * slots["second_moment"] + (1 - options.beta_2) * tf.square(gradient)
        rate = corrected_learning_rate(options, step)
        return rows - rate * first / (tf.sqrt(second) + options.epsilon), {
            "first_moment": first,
            "second_moment": second,
        }


def corrected_learning_rate(options: Adam, step: tf.Tensor) -> tf.Tensor:
    """Return the learning rate of a step, float32 from 1, with the correction of both moments' bias in it."""
    return options.learning_rate * tf.sqrt(1 - tf.pow(options.beta_2, step)) / (1 - tf.pow(options.beta_1, step))
