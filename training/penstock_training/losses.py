"""Define what training minimises: mean losses of a batch, without the model's penalty."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from penstock_training.recipe import InBatchSoftmax, Logistic, SquaredError

# Far below any score, yet finite, so that the gradient of a masked score is an exact 0 and not a NaN.
MASKED = -1e9


@dataclass(frozen=True)
class Scored:
    """Hold a batch's vectors: queries and candidates float32 [rows, width], items [rows], labels [rows] or None.

    `negatives` are candidates [rows, negatives, width] drawn for a loss that asks for them.
    """

    queries: tf.Tensor
    candidates: tf.Tensor
    items: tf.Tensor
    labels: tf.Tensor | None
    negatives: tf.Tensor | None


def in_batch_softmax(options: InBatchSoftmax, scored: Scored, log_probability: tf.Tensor) -> tf.Tensor:
    """Return the mean cross-entropy of each row's own item among the batch's items (Yi et al., RecSys 2019).

    `log_probability` float32 [items of the vocabulary] is log q, the chance of an item to be in the batch. Other rows
    with the row's own item are accidental hits, not negatives.
    """
    logits = tf.matmul(scored.queries, scored.candidates, transpose_b=True)
    if options.log_q:
        logits -= tf.gather(log_probability, scored.items)[None, :]
    rows = tf.range(tf.shape(scored.items)[0])
    if options.mask_accidental_hits:
        same_item = tf.equal(scored.items[:, None], scored.items[None, :])
        other_row = tf.not_equal(rows[:, None], rows[None, :])
        logits = tf.where(same_item & other_row, MASKED, logits)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=rows, logits=logits))


def squared_error(options: SquaredError, scored: Scored, log_probability: tf.Tensor) -> tf.Tensor:
    """Return half the mean squared difference of score and label."""
    scores = tf.reduce_sum(scored.queries * scored.candidates, axis=1)
    return 0.5 * tf.reduce_mean(tf.square(scores - scored.labels))


def logistic(options: Logistic, scored: Scored, log_probability: tf.Tensor) -> tf.Tensor:
    """Return the mean over rows of the log loss of the row's item (1) and its negatives (0)."""
    positive = tf.reduce_sum(scored.queries * scored.candidates, axis=1)
    negative = tf.einsum("rw,rnw->rn", scored.queries, scored.negatives)
    return tf.reduce_mean(tf.nn.softplus(-positive)) + tf.reduce_mean(tf.reduce_sum(tf.nn.softplus(negative), axis=1))


LOSSES: dict[str, Callable[..., tf.Tensor]] = {
    "in_batch_softmax": in_batch_softmax,
    "squared_error": squared_error,
    "logistic": logistic,
}
