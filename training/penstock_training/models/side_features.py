"""Turn the attributes of users or items into the vector that a tower takes beside the id's own embedding."""

import tensorflow as tf

from penstock_training.data.entities import Attributes, IdAttribute
from penstock_training.models.base import normal_table


class SideFeatures:
    """Embed id attributes, lists as the mean of their members (Covington et al., 2016); take numbers as they are.

    `tables` are the embeddings, one per attribute; `width` is that of the vectors, 0 where there are no attributes.
    """

    def __init__(self, side: str, attributes: Attributes, dimension: int, stddev: float, seed: int) -> None:
        """Start from small noise."""
        self._attributes = attributes
        self.tables = [
            normal_table(f"{side}.{held.name}", held.size, dimension, stddev, seed) for held in attributes.ids
        ]
        numbers = 0 if attributes.numbers is None else attributes.numbers.shape[1]
        self.width: int = dimension * len(self.tables) + numbers

    def vectors(self, entities: tf.Tensor) -> tf.Tensor:
        """Return float32 [n, width] of entities [n]."""
        parts = [_embed(table, held, entities) for table, held in zip(self.tables, self._attributes.ids, strict=True)]
        if self._attributes.numbers is not None:
            parts.append(tf.gather(self._attributes.numbers, entities))
        return tf.concat(parts, axis=1)


def _embed(table: tf.Variable, attribute: IdAttribute, entities: tf.Tensor) -> tf.Tensor:
    if attribute.offsets is None:
        return tf.gather(table, tf.gather(attribute.ids, entities))
    ids, mask = attribute.lists(entities)
    weights = tf.cast(mask, tf.float32)
    total = tf.reduce_sum(tf.gather(table, ids) * weights[:, :, None], axis=1)
    return total / tf.maximum(tf.reduce_sum(weights, axis=1, keepdims=True), 1.0)
