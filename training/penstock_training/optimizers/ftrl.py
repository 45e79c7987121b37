"""Follow the regularised leader on the rows that a batch touched; an L1 penalty makes numbers exactly zero."""

import tensorflow as tf

from penstock_training.optimizers.rows import RowOptimizer
from penstock_training.recipe import Ftrl


class RowFtrl(RowOptimizer):
    """Minimise all gradients so far and the penalties (McMahan et al., KDD 2013), as tf.keras and TPUs define it.

    A row's first update keeps of its noise only 1 - sqrt(initial_accumulator / accumulator), for a power of -0.5. So an
    embedding wants an initial accumulator well below its first squared gradients.
    """

    slot_names = ("accumulator", "linear")

    def __init__(self, tables: list[tf.Variable], options: Ftrl) -> None:
        """Take the options of the recipe."""
        self.options = options
        super().__init__(tables)

    def initial_slot(self, name: str) -> float:
        """Start the accumulator from `initial_accumulator`, and the linear part from 0."""
        return self.options.initial_accumulator if name == "accumulator" else 0.0

    def update(
        self, rows: tf.Tensor, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Set the rows to (clip(linear, -l1, l1) - linear) / (accumulator^-power / rate + beta / rate + 2 x l2)."""
        options = self.options
        accumulator = slots["accumulator"] + tf.square(gradient)
        before, after = (tf.pow(held, -options.learning_rate_power) for held in (slots["accumulator"], accumulator))
        linear = slots["linear"] + gradient - (after - before) / options.learning_rate * rows
        quadratic = (after + options.beta) / options.learning_rate + 2 * options.l2
        updated = (tf.clip_by_value(linear, -options.l1, options.l1) - linear) / quadratic
        return updated, {"accumulator": accumulator, "linear": linear}
