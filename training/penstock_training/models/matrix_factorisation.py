"""Factorise the matrix of users by items, with biases (Koren, Bell and Volinsky, 2009)."""

import numpy as np
import tensorflow as tf

from penstock_training.data.entities import NO_ATTRIBUTES, Attributes
from penstock_training.models.base import Recommender, biased_table
from penstock_training.recipe import MatrixFactorisation


class MatrixFactorisationModel(Recommender):
    """Score = user vector . item vector + item bias + user bias + global bias."""

    def __init__(
        self,
        options: MatrixFactorisation,
        users: int,
        item_counts: np.ndarray,
        seed: int,
        mean_label: float,
        _user_attributes: Attributes = NO_ATTRIBUTES,
        _item_attributes: Attributes = NO_ATTRIBUTES,
    ) -> None:
        """Start from small noise, zero biases and the mean label; attributes are not used."""
        super().__init__(name="matrix_factorisation")
        self.options = options
        noise = (options.dimension, options.initial_stddev, seed)
        self.users = biased_table("users", np.zeros(users), *noise)
        self.items = biased_table("items", np.zeros(len(item_counts)), *noise)
        self.global_bias = tf.Variable([[mean_label]], name="global_bias", dtype=tf.float32)
        self.tables = [self.users, self.items]
        self.dense_variables = [self.global_bias]

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        """Return [user vector, user bias, 1, 1]."""
        rows = tf.gather(self.users, users)
        ones = tf.ones_like(rows[:, :1])
        return tf.concat([rows, ones, ones], axis=1)

    def candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Return [item vector, 1, item bias, global bias]."""
        rows = tf.gather(self.items, items)
        ones = tf.ones_like(rows[:, :1])
        return tf.concat([rows[:, :-1], ones, rows[:, -1:], ones * self.global_bias], axis=1)

    def penalty(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Return l2 x squared vectors + bias_l2 x squared biases, per row."""
        size, options = self.options.dimension, self.options
        rows = tf.cast(tf.shape(queries)[0], tf.float32)
        vectors = tf.nn.l2_loss(queries[:, :size]) + tf.nn.l2_loss(candidates[:, :size])
        biases = tf.nn.l2_loss(queries[:, size]) + tf.nn.l2_loss(candidates[:, size + 1])
        return (options.l2 * vectors + options.bias_l2 * biases) / rows
