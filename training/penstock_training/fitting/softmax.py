"""Take the softmax of rows over the items of a batch: a column for each distinct item, a few rows at a time.

Rows with one item have one candidate, so that their columns are equal: one of them, counted as often as there are, does
for all. The scores of all rows are never held. Each tile's share of the gradient is taken while it is in the cache.
"""

from collections.abc import Callable

import tensorflow as tf

# 8 MiB of float32.
SCORES_PER_TILE = 1 << 21

Gradient = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def cross_entropy(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    items: tf.Tensor,
    own_rows: tf.Tensor,
    log_probability: tf.Tensor | None,
    mask_accidental_hits: bool,
) -> tf.Tensor:
    """Return the mean over rows of -log softmax of their own item, a scalar.

    `queries` is float32 [rows, width]; `items` [batch rows] and `candidates` float32 [batch rows, width] are what they
    choose from, and `own_rows` int32 [rows] says which is a row's own. `log_probability` float32 [items of the
    vocabulary] is subtracted from the scores, where given. With `mask_accidental_hits` a row's own item counts once,
    else as often as it is in the batch. Shapes depend on the items, which XLA does not take.
    """
    distinct, places, counts = tf.unique_with_counts(items)
    first_rows = tf.math.unsorted_segment_min(tf.range(tf.size(items)), places, tf.size(distinct))
    log_counts = tf.math.log(tf.cast(counts, tf.float32))
    biases = log_counts if log_probability is None else log_counts - tf.gather(log_probability, distinct)
    own = tf.gather(places, own_rows)
    # What the own item's score gains by being counted more than once.
    gains = tf.gather(log_counts, own)

    @tf.custom_gradient
    def total(queries: tf.Tensor, candidates: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        columns = tf.gather(candidates, first_rows)
        loss, of_queries, of_columns = _in_tiles(queries, columns, biases, own, gains, mask_accidental_hits)
        of_candidates = tf.math.unsorted_segment_sum(of_columns, first_rows, tf.shape(candidates)[0])
        return loss, lambda upstream: (upstream * of_queries, upstream * of_candidates)

    return total(queries, candidates) / tf.cast(tf.size(own_rows), tf.float32)


def _in_tiles(
    queries: tf.Tensor, columns: tf.Tensor, biases: tf.Tensor, own: tf.Tensor, gains: tf.Tensor, own_counts_once: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return (the summed loss, its gradient by queries [rows, width], its gradient by columns [columns, width])."""
    rows, count, width = tf.shape(queries)[0], tf.shape(columns)[0], queries.shape[1]
    rows_per_tile = tf.maximum(1, SCORES_PER_TILE // count)
    tiles = (rows + rows_per_tile - 1) // rows_per_tile
    # One more number in each vector adds the biases, and sums up the row, within the matrix products.
    biased = tf.concat([columns, biases[:, None]], axis=1)
    counted = tf.concat([columns, tf.ones_like(biases[:, None])], axis=1)

    def tile(
        number: tf.Tensor, loss: tf.Tensor, of_queries: tf.TensorArray, of_columns: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray, tf.Tensor]:
        here = slice(number * rows_per_tile, (number + 1) * rows_per_tile)
        vectors, gain = queries[here], gains[here]
        scores = tf.matmul(tf.concat([vectors, tf.ones_like(vectors[:, :1])], axis=1), biased, transpose_b=True)
        places = tf.stack([tf.range(tf.shape(vectors)[0]), own[here]], axis=1)
        own_scores = tf.gather_nd(scores, places) - gain
        if own_counts_once:
            scores = tf.tensor_scatter_nd_update(scores, places, own_scores)
        highest = tf.reduce_max(scores, axis=1, keepdims=True)
        powers = tf.exp(scores - highest)
        weighted = tf.matmul(powers, counted)
        sums = weighted[:, width:]
        loss += tf.reduce_sum(tf.math.log(sums[:, 0]) + highest[:, 0] - own_scores)
        of_columns += tf.matmul(powers, vectors / sums, transpose_a=True)
        return number + 1, loss, of_queries.write(number, weighted[:, :width] / sums), of_columns

    start = tf.TensorArray(tf.float32, tiles, infer_shape=False, element_shape=[None, width])
    _, loss, expected, of_columns = tf.while_loop(
        lambda number, *_: number < tiles,
        tile,
        (tf.constant(0), tf.constant(0.0), start, tf.zeros_like(columns)),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([]), None, tf.TensorShape([None, width])),
        parallel_iterations=1,
    )
    of_queries = tf.ensure_shape(expected.concat(), queries.shape) - tf.gather(columns, own)
    return loss, of_queries, of_columns - tf.math.unsorted_segment_sum(queries, own, count)
