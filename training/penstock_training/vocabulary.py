"""Load a vocabulary's tokens and counts from its shards."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from penstock_shared.errors import DataRefused
from penstock_shared.manifest import Vocabulary
from penstock_shared.tokens import FIRST_OOV_ID, first_token_id
from penstock_training.dataset import Dataset
from penstock_training.decode import Values, decode_block


@dataclass(frozen=True)
class Tokens:
    """Hold a vocabulary's tokens in the order of their ids, from the first id that is not reserved.

    `tokens` is int64 [tokens], or for string tokens their UTF-8 bytes as an object array. `counts` is int64 [tokens].
    """

    vocabulary: Vocabulary
    tokens: np.ndarray
    counts: np.ndarray

    @property
    def first_id(self) -> int:
        """Return the id of the first token."""
        return first_token_id(self.vocabulary.oov_buckets)

    def counts_by_id(self) -> np.ndarray:
        """Return float64 [size] counts by id; values outside the vocabulary are shared evenly by its buckets."""
        counts = np.zeros(self.vocabulary.size, np.float64)
        outside = self.vocabulary.counted_values - int(self.counts.sum())
        counts[FIRST_OOV_ID : self.first_id] = max(0, outside) / self.vocabulary.oov_buckets
        counts[self.first_id : self.first_id + len(self.counts)] = self.counts
        return counts


def load_tokens(dataset: Dataset, name: str) -> Tokens:
    """Read the shards of vocabulary `name`.

    Raises DataRefused naming the shard that fails its checksums, or does not hold the tokens the manifest says.
    """
    vocabulary = dataset.manifest.vocabularies[name]
    tokens: list[np.ndarray] = [np.zeros(0, np.int64)] if vocabulary.token_dtype == "int64" else [np.zeros(0, object)]
    counts: list[np.ndarray] = [np.zeros(0, np.int64)]
    for shard in vocabulary.shards:
        path = dataset.path(shard)
        held = 0
        try:
            for payload in tf.data.TFRecordDataset(path).as_numpy_iterator():
                rows = int.from_bytes(payload[:4], "little")
                token, count = decode_block(
                    tf.constant(payload), vocabulary.columns, tf.constant(rows), tf.constant(path)
                )
                tokens.append(_strings(token) if token.lengths is not None else token.numbers.numpy().astype(np.int64))
                counts.append(count.numbers.numpy().astype(np.int64))
                held += rows
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as fault:
            raise DataRefused(f"{path}: corrupt after {held} tokens: {fault.message}; copy the dataset again") from None
        if held != shard.tokens:
            raise DataRefused(f"{path}: holds {held} tokens, expected {shard.tokens} as the manifest says")
    return Tokens(vocabulary, np.concatenate(tokens), np.concatenate(counts))


def _strings(token: Values) -> np.ndarray:
    content, lengths = token.numbers.numpy().tobytes(), np.array(token.lengths, np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    strings = np.empty(len(ends), object)
    strings[:] = [content[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return strings
