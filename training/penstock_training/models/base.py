"""Say what training, evaluation and export ask of a model: two sides whose dot product is the score."""

import zlib
from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from penstock_training.tables.fill import Fill, filled, normal_noise


class Recommender(tf.keras.layers.Layer):
    """Score a user and an item by the dot product of the user's query and the item's candidate vector.

    Biases are further columns of the two, so that ranking all items is one matrix product.
    """

    tables: list[tf.Variable]
    dense_variables: list[tf.Variable]

    @abstractmethod
    def queries(self, users: tf.Tensor) -> tf.Tensor:
        """Return float32 [n, width] for ids [n]."""

    @abstractmethod
    def candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Return float32 [n, width] for ids [n]."""

    @abstractmethod
    def penalty(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Return the regularisation of a batch's queries and candidates, a scalar."""


def normal_table(name: str, rows: int, dimension: int, stddev: float, seed: int) -> tf.Variable:
    """Return a table of normal noise, a pure function of (name, shape, stddev, seed)."""
    return _table(name, rows, dimension, lambda: _noise(name, dimension, stddev, seed))


def biased_table(name: str, biases: np.ndarray, dimension: int, stddev: float, seed: int) -> tf.Variable:
    """Return a table of normal noise with one more column, the biases [rows] to start from.

    One row holds both, so that a step finds them in one place in memory.
    """

    def noise_and_biases() -> Fill:
        noise, column = _noise(name, dimension, stddev, seed), biases.astype(np.float32)[:, None]
        return lambda first, count: tf.concat([noise(first, count), column[first : first + count]], axis=1)

    return _table(name, len(biases), dimension + 1, noise_and_biases)


def _table(name: str, rows: int, width: int, fill: Callable[[], Fill]) -> tf.Variable:
    # Made only once the variable asks for it: whoever plans tables need not hold them.
    return tf.Variable(lambda: filled(rows, width, fill()), shape=[rows, width], dtype=tf.float32, name=name)


def _noise(name: str, dimension: int, stddev: float, seed: int) -> Fill:
    return normal_noise((seed, zlib.crc32(name.encode()) & 0x7FFFFFFF), dimension, stddev)


def log_probability(counts: np.ndarray) -> np.ndarray:
    """Return the float32 log of each id's share of `counts` [ids], where an id that was never counted has one count."""
    smoothed = np.maximum(counts, 1.0)
    logs: np.ndarray = np.log(smoothed / smoothed.sum()).astype(np.float32)
    return logs
