"""Look raw ids up in a vocabulary inside a graph, with stock TensorFlow ops and the vocabulary held in variables."""

import numpy as np
import tensorflow as tf

from penstock_shared.tokens import FIRST_OOV_ID, MASK64, MIX_MULTIPLIERS, MIX_SHIFT, WORD_BYTES
from penstock_training.data.vocabulary import Tokens


class Lookup(tf.Module):
    """Map raw ids to ids: by binary search over the tokens' hashes, then by comparing the tokens themselves.

    What is not in the vocabulary gets the out-of-vocabulary id its hash gives.
    """

    def __init__(self, held: Tokens, name: str) -> None:
        """Sort the hashes; a vocabulary without tokens finds nothing."""
        super().__init__(name=name)
        self.dtype = tf.string if held.vocabulary.token_dtype == "string" else tf.int64
        self.first_id, self.oov_buckets = held.first_id, held.vocabulary.oov_buckets
        tokens = held.tokens.tolist() or ([b""] if self.dtype == tf.string else [0])
        self.count = len(held.tokens)
        self.tokens = tf.Variable(tf.constant(tokens, self.dtype), trainable=False, name="tokens")
        hashes = _ordered(hash_tokens(self.tokens.read_value())).numpy()
        order = np.argsort(hashes, kind="stable")
        self.hashes = tf.Variable(hashes[order], trainable=False, name="hashes")
        self.order = tf.Variable(order, trainable=False, name="order")
        # Tokens that share a hash lie next to each other; all of them are compared.
        self.probes = int(np.unique(hashes, return_counts=True)[1].max())

    def ids(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return (int64 ids [n], bool [n] whether each is in the vocabulary) of raw ids [n]."""
        hashes = hash_tokens(raw)
        first = tf.searchsorted(self.hashes, _ordered(hashes), side="left", out_type=tf.int64)
        ids = FIRST_OOV_ID + _top63_modulo(hashes, self.oov_buckets)
        known = tf.zeros_like(raw, tf.bool)
        for probe in range(self.probes if self.count else 0):
            place = tf.gather(self.order, tf.minimum(first + probe, self.count - 1))
            same = tf.equal(tf.gather(self.tokens, place), raw)
            ids, known = tf.where(same, self.first_id + place, ids), known | same
        return ids, known

    def raw(self, places: tf.Tensor) -> tf.Tensor:
        """Return the tokens at places that count from the first id that is not reserved."""
        return tf.gather(self.tokens, places)


def hash_tokens(tokens: tf.Tensor) -> tf.Tensor:
    """Return the uint64 hashes of int64 or string tokens [n], as penstock_shared.tokens defines them."""
    if tokens.dtype == tf.int64:
        return _mix64(tf.bitcast(tokens, tf.uint64))
    lengths = tf.strings.length(tokens, unit="BYTE")
    words_needed = tf.maximum(1, (tf.reduce_max(tf.concat([lengths, [0]], 0)) + WORD_BYTES - 1) // WORD_BYTES)
    words = tf.io.decode_raw(tokens, tf.int64, fixed_length=words_needed * WORD_BYTES)

    def fold(place: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mixed = _mix64(tf.bitwise.bitwise_xor(state, tf.bitcast(words[:, place], tf.uint64)))
        return place + 1, tf.where(place * WORD_BYTES < lengths, mixed, state)

    start = (tf.constant(0), tf.cast(lengths, tf.uint64))
    shapes = (tf.TensorShape([]), tf.TensorShape([None]))
    _, state = tf.while_loop(lambda place, state: place < words_needed, fold, start, shapes)
    return _mix64(state)


def _mix64(words: tf.Tensor) -> tf.Tensor:
    for multiplier in MIX_MULTIPLIERS:
        words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, tf.constant(MIX_SHIFT, tf.uint64)))
        words *= tf.constant(multiplier, tf.uint64)
    return tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, tf.constant(MIX_SHIFT, tf.uint64)))


def _ordered(hashes: tf.Tensor) -> tf.Tensor:
    # Binary search wants signed numbers: with the top bit flipped they sort as the unsigned ones do.
    return tf.bitcast(tf.bitwise.bitwise_xor(hashes, tf.constant((MASK64 >> 1) + 1, tf.uint64)), tf.int64)


def _top63_modulo(hashes: tf.Tensor, buckets: int) -> tf.Tensor:
    top = tf.bitcast(tf.bitwise.right_shift(hashes, tf.constant(1, tf.uint64)), tf.int64)
    return top % buckets
