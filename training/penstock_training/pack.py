"""Pack the columns of a block into few tensors that move fast, and unpack a batch of them into features.

All scalar columns go into one int32 matrix, a row's columns side by side, so that permuting rows is one gather of
whole rows. Each column of lists or vectors is a matrix of its own, as narrow as it is stored. Numbers get their final
type only when a batch is unpacked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf

from penstock_shared.features import Feature
from penstock_training.decode import SHORTEST_STATIC_LENGTH, Values, densify

PRESENT_SUFFIX = ".present"
MASK_SUFFIX = ".mask"
WIDE_STORAGES = ("i64",)
FLOAT_STORAGES = ("f16", "bf16", "f32")
DTYPES = {"int32": tf.int32, "int64": tf.int64, "float32": tf.float32}

# The scalar columns, int32 [rows, words]; each column of lists or vectors by its name, [rows, length].
Packed = tuple[tf.Tensor, dict[str, tf.Tensor]]


@dataclass(frozen=True)
class Packing:
    """Say which features are packed, and how long each list is made (`static_lengths`, by feature name)."""

    features: tuple[Feature, ...]
    static_lengths: dict[str, int]

    @classmethod
    def of_features(cls, features: tuple[Feature, ...], longest_list: int | None) -> "Packing":
        """Take each list's length from its statistics, but at most `longest_list`."""
        lengths: dict[str, int] = {}
        for feature in features:
            if feature.lengths is not None:
                longest = max(SHORTEST_STATIC_LENGTH, feature.statistics.longest or 0)
                lengths[feature.name] = longest if longest_list is None else min(longest, longest_list)
        return cls(features, lengths)

    def pack(self, columns: dict[str, Values]) -> Packed:
        """Return a block's columns packed."""
        words: list[tf.Tensor] = []
        lists: dict[str, tf.Tensor] = {}
        for feature in self.features:
            values = columns[feature.name]
            if feature.lengths is not None:
                static_length = self.static_lengths[feature.name]
                lists[feature.name] = densify(values, static_length)
                words.append(tf.minimum(values.lengths, static_length))
                continue
            if feature.shape:
                lists[feature.name] = values.numbers
                continue
            words += _words(values.numbers, feature)
            if values.present is not None:
                words.append(tf.cast(values.present, tf.int32))
        return tf.transpose(tf.stack(words)), lists

    def unpack(self, packed: Packed, batch_rows: int) -> dict[str, tf.Tensor]:
        """Return a batch of exactly `batch_rows` rows: features by name, with `.present` and `.mask`."""
        matrix, lists = packed
        words = iter(tf.unstack(tf.ensure_shape(matrix, [batch_rows, self._word_count()]), axis=1))
        batch: dict[str, tf.Tensor] = {}
        for feature in self.features:
            dtype = DTYPES[feature.dtype]
            if feature.lengths is not None:
                static_length = self.static_lengths[feature.name]
                mask = tf.sequence_mask(next(words), static_length)
                numbers = tf.cast(tf.ensure_shape(lists[feature.name], [batch_rows, static_length]), dtype)
                batch[feature.name] = tf.where(mask, numbers, tf.cast(feature.padding, dtype))
                batch[feature.name + MASK_SUFFIX] = mask
                continue
            if feature.shape:
                vectors = tf.ensure_shape(lists[feature.name], [batch_rows, *feature.shape])
                batch[feature.name] = tf.cast(vectors, dtype)
                continue
            batch[feature.name] = _number(words, feature, dtype)
            if feature.nullable:
                batch[feature.name + PRESENT_SUFFIX] = tf.cast(next(words), tf.bool)
        return batch

    def _word_count(self) -> int:
        return sum(
            1 + (feature.storage in WIDE_STORAGES and feature.lengths is None) + feature.nullable
            for feature in self.features
            if not feature.shape
        )


def _words(numbers: tf.Tensor, feature: Feature) -> list[tf.Tensor]:
    if feature.storage in FLOAT_STORAGES:
        return [tf.bitcast(tf.cast(numbers, tf.float32), tf.int32)]
    if feature.storage in WIDE_STORAGES:
        return tf.unstack(tf.bitcast(tf.cast(numbers, tf.int64), tf.int32), axis=1)
    if numbers.dtype == tf.uint32:
        return [tf.bitcast(numbers, tf.int32)]
    return [
        tf.bitcast(tf.cast(numbers, tf.uint32), tf.int32) if numbers.dtype == tf.int64 else tf.cast(numbers, tf.int32)
    ]


def _number(words: Iterator[tf.Tensor], feature: Feature, dtype: tf.DType) -> tf.Tensor:
    word = next(words)
    if feature.storage in FLOAT_STORAGES:
        return tf.bitcast(word, tf.float32)
    if feature.storage in WIDE_STORAGES:
        return tf.cast(tf.bitcast(tf.stack([word, next(words)], axis=1), tf.int64), dtype)
    if feature.storage == "u32" and dtype != tf.int32:
        return tf.cast(tf.bitcast(word, tf.uint32), dtype)
    return tf.cast(word, dtype)
