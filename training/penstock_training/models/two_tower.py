"""Retrieve with two towers: an embedding and dense layers on either side (Yi et al., RecSys 2019)."""

import zlib

import numpy as np
import tensorflow as tf

from penstock_training.models.base import Recommender, biased_table, log_probability, normal_table
from penstock_training.recipe import TwoTower


class TwoTowerModel(Recommender):
    """Score = user tower . item tower / temperature + item bias.

    The item bias starts at the log of the item's probability, so that a user the model knows nothing about is ranked
    by popularity.
    """

    def __init__(self, options: TwoTower, users: int, item_counts: np.ndarray, seed: int, mean_label: float) -> None:
        """Start from small noise; `mean_label` is not used, since retrieval has no label."""
        super().__init__(name="two_tower")
        self.options = options
        noise = (options.dimension, options.initial_stddev, seed)
        self.users = normal_table("users", users, *noise)
        self.items = biased_table("items", log_probability(item_counts), *noise)
        self.tables = [self.users, self.items]
        self.user_layers = _dense_layers("user", options, seed)
        self.item_layers = _dense_layers("item", options, seed)
        self.dense_variables = [weight for layer in (*self.user_layers, *self.item_layers) for weight in layer.weights]

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        """Return [user tower / temperature, 1]."""
        tower = _tower(self.user_layers, tf.gather(self.users, users))
        return tf.concat([tower / self.options.temperature, tf.ones_like(tower[:, :1])], axis=1)

    def candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Return [item tower, item bias]."""
        rows = tf.gather(self.items, items)
        return tf.concat([_tower(self.item_layers, rows[:, :-1]), rows[:, -1:]], axis=1)

    def penalty(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Return l2 x squared tower outputs, per row."""
        towers = tf.nn.l2_loss(queries[:, :-1]) + tf.nn.l2_loss(candidates[:, :-1])
        return self.options.l2 * towers / tf.cast(tf.shape(queries)[0], tf.float32)


def _dense_layers(side: str, options: TwoTower, seed: int) -> list[tf.keras.layers.Dense]:
    widths = (*options.hidden, options.dimension) if options.hidden else ()
    layers = []
    for place, width in enumerate(widths):
        name = f"{side}_dense_{place}"
        initializer = tf.keras.initializers.GlorotUniform(seed=zlib.crc32(f"{name}/{seed}".encode()) & 0x7FFFFFFF)
        last = place == len(widths) - 1
        layer = tf.keras.layers.Dense(width, None if last else "relu", kernel_initializer=initializer, name=name)
        layer.build([None, widths[place - 1] if place else options.dimension])
        layers.append(layer)
    return layers


def _tower(layers: list[tf.keras.layers.Dense], vectors: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        vectors = layer(vectors)
    return vectors
