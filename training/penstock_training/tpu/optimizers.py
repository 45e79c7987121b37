"""Say a table optimiser of a recipe in the words of TPU embeddings, so that it makes the same updates there.

What is the same, by optimization_parameters.proto of TensorFlow and XLA:

- sgd and ftrl: the formulas are the same.
- adagrad: a TPU adds no epsilon, so its accumulators start from the recipe's initial accumulator plus epsilon, which is
  the same number under the root in every step.
- adam: a TPU neither corrects the moments' bias, so the learning rate of each step does, nor puts epsilon beside the
  root unless told to.
- row_wise_adagrad: no TPU has it.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_training.optimizers.lazy_adam import corrected_learning_rate
from penstock_training.recipe import Adagrad, Adam, Ftrl, Recipe, Sgd

# Returns the number of the present step, from 0.
Step = Callable[[], tf.Tensor]


def _adagrad(options: Adagrad, _step: Step) -> Any:
    return tf.tpu.experimental.embedding.Adagrad(
        options.learning_rate, initial_accumulator_value=options.initial_accumulator + options.epsilon
    )


def _adam(options: Adam, step: Step) -> Any:
    return tf.tpu.experimental.embedding.Adam(
        lambda: corrected_learning_rate(options, tf.cast(step() + 1, tf.float32)),
        options.beta_1,
        options.beta_2,
        options.epsilon,
        lazy_adam=True,
        sum_inside_sqrt=False,
    )


def _ftrl(options: Ftrl, _step: Step) -> Any:
    return tf.tpu.experimental.embedding.FTRL(
        options.learning_rate,
        options.learning_rate_power,
        options.l1,
        options.l2,
        options.beta,
        options.initial_accumulator,
    )


def _sgd(options: Sgd, _step: Step) -> Any:
    return tf.tpu.experimental.embedding.SGD(options.learning_rate)


TPU_OPTIMIZERS: dict[str, Callable[[Any, Step], Any]] = {
    "adagrad": _adagrad,
    "adam": _adam,
    "ftrl": _ftrl,
    "sgd": _sgd,
}

# What updates the tables of a TPU's layer where there is none. Adagrad's epsilon, 1e-7, is beside the root; Adam decays
# the moments of all rows.
HOST_OPTIMIZERS: dict[str, Callable[[Any], tf.keras.optimizers.legacy.Optimizer]] = {
    "adagrad": lambda options: tf.keras.optimizers.legacy.Adagrad(
        options.learning_rate, options.initial_accumulator + options.epsilon
    ),
    "adam": lambda options: tf.keras.optimizers.legacy.Adam(
        options.learning_rate, options.beta_1, options.beta_2, options.epsilon
    ),
    "ftrl": lambda options: tf.keras.optimizers.legacy.Ftrl(
        options.learning_rate,
        options.learning_rate_power,
        options.initial_accumulator,
        options.l1,
        options.l2,
        beta=options.beta,
    ),
    "sgd": lambda options: tf.keras.optimizers.legacy.SGD(options.learning_rate),
}


# A table's slots there, in the order of our own, and what they hold beyond ours.
CORE_SLOTS: dict[str, Callable[[Any], dict[str, float]]] = {
    "adagrad": lambda options: {"accumulators": options.epsilon},
    "adam": lambda options: {"momenta": 0.0, "velocities": 0.0},
    "ftrl": lambda options: {"accumulators": 0.0, "linears": 0.0},
    "sgd": lambda options: {},
}


def check_tpu_optimizer(recipe: Recipe, where: str) -> None:
    """Raise UserMistake when a TPU has no such optimiser of tables; `where` names the recipe."""
    kind = recipe.optimizer.embeddings.kind
    if kind not in TPU_OPTIMIZERS:
        raise UserMistake(
            f"{where}: optimizer.embeddings.kind is {kind!r}, which TPUs do not have; "
            f"take {', '.join(sorted(TPU_OPTIMIZERS))}, or train without a TPU"
        )
