"""Load a vocabulary's tokens and counts from its shards."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from penstock_shared.errors import DataRefused
from penstock_shared.layout import BLOCK_HEADER_BYTES
from penstock_shared.tokens import FIRST_OOV_ID, first_token_id
from penstock_shared.vocabularies import Vocabulary
from penstock_training.data.dataset import Dataset
from penstock_training.data.decode import Values, decode_block
from penstock_training.storage import reason, sequential_bytes


@dataclass(frozen=True)
class Tokens:
    """Hold a vocabulary's tokens in the order of their ids, from the first id that is not reserved.

    `tokens` is int64 [tokens], or for string tokens their UTF-8 bytes as an object array.
    """

    vocabulary: Vocabulary
    tokens: np.ndarray

    @property
    def first_id(self) -> int:
        """Return the id of the first token."""
        return first_token_id(self.vocabulary.oov_buckets)


def load_tokens(dataset: Dataset, name: str) -> Tokens:
    """Read the tokens of vocabulary `name`; raises DataRefused naming a shard that is damaged."""
    vocabulary = dataset.manifest.vocabularies[name]
    strings = vocabulary.token_dtype == "string"
    tokens = [np.zeros(0, object if strings else np.int64)]
    for token, _ in _blocks(dataset, vocabulary):
        tokens.append(_strings(token) if strings else token.numbers.numpy().astype(np.int64))
    return Tokens(vocabulary, np.concatenate(tokens))


def load_counts(dataset: Dataset, name: str) -> np.ndarray:
    """Return how often each id of vocabulary `name` was counted, float64 [size].

    Values outside the vocabulary are shared evenly by its buckets. Raises DataRefused naming a shard that is damaged.
    """
    vocabulary = dataset.manifest.vocabularies[name]
    held = [count.numbers.numpy().astype(np.float64) for _, count in _blocks(dataset, vocabulary)]
    of_tokens = np.concatenate([np.zeros(0), *held])
    counts = np.zeros(vocabulary.size)
    first_id = first_token_id(vocabulary.oov_buckets)
    counts[FIRST_OOV_ID:first_id] = max(0.0, vocabulary.counted_values - of_tokens.sum()) / vocabulary.oov_buckets
    counts[first_id : first_id + len(of_tokens)] = of_tokens
    return counts


def _blocks(dataset: Dataset, vocabulary: Vocabulary) -> Iterator[tuple[Values, Values]]:
    for shard in vocabulary.shards:
        path, held = dataset.path(shard), 0
        try:
            for payload in tf.data.TFRecordDataset(path, buffer_size=sequential_bytes(shard.bytes)).as_numpy_iterator():
                rows = int.from_bytes(payload[:BLOCK_HEADER_BYTES], "little")
                token, count = decode_block(
                    tf.constant(payload), vocabulary.columns, tf.constant(rows), tf.constant(path)
                )
                yield token, count
                held += rows
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as fault:
            raise DataRefused(f"{path}: corrupt after {held} tokens: {reason(fault)}; copy the dataset again") from None
        if held != shard.tokens:
            raise DataRefused(f"{path}: holds {held} tokens, expected {shard.tokens} as the manifest says")


def _strings(token: Values) -> np.ndarray:
    content, lengths = token.numbers.numpy().tobytes(), np.array(token.lengths, np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    strings = np.empty(len(ends), object)
    strings[:] = [content[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return strings
