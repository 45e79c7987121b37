"""Define what training minimises: mean losses of a replica's rows, without the model's penalty."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from penstock_training.fitting.softmax import cross_entropy
from penstock_training.recipe import InBatchSoftmax, Logistic, SquaredError

# Far below any score, yet finite, so that the gradient of a masked score is an exact 0 and not a NaN.
MASKED = -1e9


@dataclass(frozen=True)
class Rivals:
    """Hold what rows choose from: items [batch rows] and candidates float32 [batch rows, width] of the global batch.

    The rows that choose are those from `first_row` on.
    """

    items: tf.Tensor
    candidates: tf.Tensor
    first_row: tf.Tensor | int


@dataclass(frozen=True)
class Scored:
    """Hold a replica's vectors: queries and candidates float32 [rows, width], items [rows], labels [rows] or None.

    `negatives` are candidates [rows, negatives, width] drawn for a loss that asks for them. `rivals` are for a loss
    within the global batch, of which a replica has a part; where they are None, the rows are the whole batch.
    """

    queries: tf.Tensor
    candidates: tf.Tensor
    items: tf.Tensor
    labels: tf.Tensor | None
    negatives: tf.Tensor | None
    rivals: Rivals | None = None


def in_batch_softmax(options: InBatchSoftmax, scored: Scored, log_probability: tf.Tensor) -> tf.Tensor:
    """Return the mean cross-entropy of each row's own item among the global batch's items (Yi et al., RecSys 2019).

    `log_probability` float32 [items of the vocabulary] is log q, the chance of an item to be in the batch. Other rows
    with the row's own item are accidental hits, not negatives. Rows with one item have one candidate.
    """
    rivals = scored.rivals or Rivals(scored.items, scored.candidates, 0)
    own = rivals.first_row + tf.range(tf.shape(scored.queries)[0])
    log_q = log_probability if options.log_q else None
    if not GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        return cross_entropy(scored.queries, rivals.candidates, rivals.items, own, log_q, options.mask_accidental_hits)
    # XLA wants to know all shapes, and makes one pass of many by itself.
    logits = tf.matmul(scored.queries, rivals.candidates, transpose_b=True)
    if options.log_q:
        logits -= tf.expand_dims(tf.gather(log_probability, rivals.items), 0)
    if options.mask_accidental_hits:
        same_item = tf.equal(tf.gather(rivals.items, own)[:, None], tf.expand_dims(rivals.items, 0))
        other_row = tf.not_equal(own[:, None], tf.range(tf.shape(rivals.items)[0])[None, :])
        logits = tf.where(same_item & other_row, MASKED, logits)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=own, logits=logits))


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
