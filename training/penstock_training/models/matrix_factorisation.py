"""Factorise the matrix of users by items, with biases (Koren, Bell and Volinsky, 2009)."""

import numpy as np
import tensorflow as tf

from penstock_training.models.base import Recommender, normal_table, zero_table
from penstock_training.recipe import MatrixFactorisation


class MatrixFactorisationModel(Recommender):
    """Score = user vector . item vector + item bias + user bias + global bias."""

    def __init__(
        self, options: MatrixFactorisation, users: int, item_counts: np.ndarray, seed: int, mean_label: float
    ) -> None:
        """Start from small noise, zero biases and the mean label."""
        super().__init__(name="matrix_factorisation")
        self.options = options
        items = len(item_counts)
        self.user_vectors = normal_table("user_vectors", users, options.dimension, options.initial_stddev, seed)
        self.item_vectors = normal_table("item_vectors", items, options.dimension, options.initial_stddev, seed)
        self.user_bias = zero_table("user_bias", users)
        self.item_bias = zero_table("item_bias", items)
        self.global_bias = tf.Variable([[mean_label]], name="global_bias", dtype=tf.float32)
        self.tables = [self.user_vectors, self.item_vectors, self.user_bias, self.item_bias]
        self.dense_variables = [self.global_bias]

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        """Return [user vector, 1, user bias, 1]."""
        vectors, biases = tf.gather(self.user_vectors, users), tf.gather(self.user_bias, users)
        ones = tf.ones_like(biases)
        return tf.concat([vectors, ones, biases, ones], axis=1)

    def candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Return [item vector, item bias, 1, global bias]."""
        vectors, biases = tf.gather(self.item_vectors, items), tf.gather(self.item_bias, items)
        ones = tf.ones_like(biases)
        return tf.concat([vectors, biases, ones, ones * self.global_bias], axis=1)

    def penalty(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Return l2 x squared vectors + bias_l2 x squared biases, per row."""
        size, options = self.options.dimension, self.options
        rows = tf.cast(tf.shape(queries)[0], tf.float32)
        vectors = tf.nn.l2_loss(queries[:, :size]) + tf.nn.l2_loss(candidates[:, :size])
        biases = tf.nn.l2_loss(queries[:, size + 1]) + tf.nn.l2_loss(candidates[:, size])
        return (options.l2 * vectors + options.bias_l2 * biases) / rows
