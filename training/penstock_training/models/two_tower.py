"""Retrieve with two towers: embeddings, of an id and its attributes, and dense layers on either side.

As in Yi et al. (RecSys 2019).
"""

import zlib

import numpy as np
import tensorflow as tf

from penstock_training.data.entities import NO_ATTRIBUTES, Attributes
from penstock_training.models.base import Recommender, biased_table, log_probability, normal_table
from penstock_training.models.side_features import SideFeatures
from penstock_training.recipe import TwoTower


class TwoTowerModel(Recommender):
    """Score = user tower . item tower / temperature + item bias.

    The item bias starts at the log of the item's probability, so that a user the model knows nothing about is ranked
    by popularity.
    """

    def __init__(
        self,
        options: TwoTower,
        users: int,
        item_counts: np.ndarray,
        seed: int,
        _mean_label: float,
        user_attributes: Attributes = NO_ATTRIBUTES,
        item_attributes: Attributes = NO_ATTRIBUTES,
    ) -> None:
        """Start from small noise; the mean label is not used, since retrieval has no label."""
        super().__init__(name="two_tower")
        self.options = options
        noise = (options.dimension, options.initial_stddev, seed)
        self.users = normal_table("users", users, *noise)
        self.items = biased_table("items", log_probability(item_counts), *noise)
        feature_noise = (options.feature_dimension, options.initial_stddev, seed)
        self._user_side = SideFeatures("user", user_attributes, *feature_noise)
        self._item_side = SideFeatures("item", item_attributes, *feature_noise)
        self.tables = [self.users, self.items, *self._user_side.tables, *self._item_side.tables]
        self.user_layers = _dense_layers("user", options, self._user_side.width, seed)
        self.item_layers = _dense_layers("item", options, self._item_side.width, seed)
        self.dense_variables = [weight for layer in (*self.user_layers, *self.item_layers) for weight in layer.weights]

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        """Return [user tower / temperature, 1]."""
        tower = self._tower(self.user_layers, tf.gather(self.users, users), self._user_side, users)
        return tf.concat([tower / self.options.temperature, tf.ones_like(tower[:, :1])], axis=1)

    def candidates(self, items: tf.Tensor) -> tf.Tensor:
        """Return [item tower, item bias]."""
        rows = tf.gather(self.items, items)
        tower = self._tower(self.item_layers, rows[:, :-1], self._item_side, items)
        return tf.concat([tower, rows[:, -1:]], axis=1)

    def penalty(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Return l2 x squared tower outputs, per row."""
        towers = tf.nn.l2_loss(queries[:, :-1]) + tf.nn.l2_loss(candidates[:, :-1])
        return self.options.l2 * towers / tf.cast(tf.shape(queries)[0], tf.float32)

    def _tower(
        self, layers: list[tf.keras.layers.Dense], vectors: tf.Tensor, side: SideFeatures, ids: tf.Tensor
    ) -> tf.Tensor:
        if side.width and not self.options.hidden:
            return vectors + layers[0](side.vectors(ids))
        towers = tf.concat([vectors, side.vectors(ids)], axis=1) if side.width else vectors
        for layer in layers:
            towers = layer(towers)
        return towers


def _dense_layers(side: str, options: TwoTower, feature_width: int, seed: int) -> list[tf.keras.layers.Dense]:
    """Return the layers of a tower; without hidden ones, at most the linear map of its features."""
    inputs = options.dimension + feature_width if options.hidden else feature_width
    widths = (*options.hidden, options.dimension) if options.hidden or feature_width else ()
    layers = []
    for place, width in enumerate(widths):
        name = f"{side}_dense_{place}"
        initializer = tf.keras.initializers.GlorotUniform(seed=zlib.crc32(f"{name}/{seed}".encode()) & 0x7FFFFFFF)
        last = place == len(widths) - 1
        layer = tf.keras.layers.Dense(width, None if last else "relu", kernel_initializer=initializer, name=name)
        layer.build([None, widths[place - 1] if place else inputs])
        layers.append(layer)
    return layers
