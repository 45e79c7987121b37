"""Pack the columns of a block into narrow tensors that move fast, and unpack a batch of them into features.

Numbers keep the width they are stored with, u24 its three bytes, and get their final type only when a batch is
unpacked; where the compiler fuses that with the permutation of rows, each number is read and written once.
"""

from dataclasses import dataclass

import tensorflow as tf

from penstock_shared.features import Feature
from penstock_training.data.decode import SHORTEST_STATIC_LENGTH, Values, densify, number_of

PRESENT_SUFFIX = ".present"
MASK_SUFFIX = ".mask"
LENGTHS_SUFFIX = ".lengths"
DTYPES = {"int32": tf.int32, "int64": tf.int64, "float32": tf.float32}

# Tensors of equally many rows: each feature by its name, with `.present` and `.lengths` where it has them.
Packed = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Packing:
    """Say which features are packed, how long each list is made (by name), and which move as u24's three bytes."""

    features: tuple[Feature, ...]
    static_lengths: dict[str, int]
    triples: frozenset[str]

    @classmethod
    def of_features(
        cls, features: tuple[Feature, ...], longest_list: int | None, triples: frozenset[str] = frozenset()
    ) -> "Packing":
        """Take each list's length from its statistics, but at most `longest_list`."""
        lengths: dict[str, int] = {}
        for feature in features:
            if feature.lengths is not None:
                longest = max(SHORTEST_STATIC_LENGTH, feature.statistics.longest or 0)
                lengths[feature.name] = longest if longest_list is None else min(longest, longest_list)
        return cls(features, lengths, triples)

    def pack(self, columns: dict[str, Values]) -> Packed:
        """Return a block's columns packed."""
        packed: Packed = {}
        for feature in self.features:
            name, values = feature.name, columns[feature.name]
            if feature.lengths is not None:
                static_length = self.static_lengths[name]
                packed[name] = densify(values, static_length)
                packed[name + LENGTHS_SUFFIX] = tf.minimum(values.lengths, static_length)
                continue
            packed[name] = values.triples if name in self.triples else values.numbers
            if values.present is not None:
                packed[name + PRESENT_SUFFIX] = values.present
        return packed

    def unpack(self, packed: Packed) -> dict[str, tf.Tensor]:
        """Return rows as features by name, with `.present` and `.mask`."""
        rows: dict[str, tf.Tensor] = {}
        for feature in self.features:
            name, dtype = feature.name, DTYPES[feature.dtype]
            numbers = tf.cast(number_of(packed[name]) if name in self.triples else packed[name], dtype)
            if feature.lengths is not None:
                mask = tf.sequence_mask(packed[name + LENGTHS_SUFFIX], self.static_lengths[name])
                rows[name] = tf.where(mask, numbers, tf.cast(feature.padding, dtype))
                rows[name + MASK_SUFFIX] = mask
                continue
            rows[name] = tf.ensure_shape(numbers, [None, *feature.shape])
            if feature.nullable:
                rows[name + PRESENT_SUFFIX] = packed[name + PRESENT_SUFFIX]
        return rows
