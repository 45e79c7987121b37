"""Make the Keras optimiser of the variables that every step touches whole."""

from collections.abc import Callable

import tensorflow as tf

DENSE_OPTIMIZERS: dict[str, Callable[..., tf.keras.optimizers.Optimizer]] = {
    "adagrad": lambda options: tf.keras.optimizers.Adagrad(
        options.learning_rate, initial_accumulator_value=options.initial_accumulator, epsilon=options.epsilon
    ),
    "adam": lambda options: tf.keras.optimizers.Adam(
        options.learning_rate, options.beta_1, options.beta_2, options.epsilon
    ),
    "sgd": lambda options: tf.keras.optimizers.SGD(options.learning_rate),
}
