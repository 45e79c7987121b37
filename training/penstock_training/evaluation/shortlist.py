"""Find each user's best items among all, tile by tile, keeping of a tile only the few scores that can still matter.

Each score is computed once, in one matrix product, so that no rank depends on how two products round.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from penstock_training.evaluation.best import Best

# Scores computed at a time: 16 MiB of float32, which a cache can hold.
SCORES_PER_TILE, MOST_ITEMS_PER_TILE = 1 << 22, 1 << 15
GROUP_ITEMS = 32
PAIRS_PER_PIECE = 1 << 16
# Accelerators may round what they multiply to bfloat16, each by up to 1/256, and their sums besides.
ROUNDING = 1 / 64


@dataclass(frozen=True)
class Pairs:
    """Hold pairs of a user's row and an item, int64 [pairs] each."""

    rows: np.ndarray
    items: np.ndarray

    def take(self, order: np.ndarray | slice) -> "Pairs":
        """Return the pairs at some places."""
        return Pairs(self.rows[order], self.items[order])


def shortlist(queries: np.ndarray, candidates: np.ndarray, wanted: Pairs, hidden: Pairs, k: int) -> np.ndarray:
    """Return the items at the first k ranks of each user, as far as the last that it wants, int64 [users, k].

    Items rank by falling score, ties by rising item, the hidden ones never; -1 is no item. What stands behind the last
    wanted item has no meaning, nor has the row of a user with none at the first k ranks: a user is dropped as soon as
    nothing that it wants can come so far. `queries` is float32 [users, width], `candidates` float32 [items, width].

    The memory it takes is that of a tile of scores, twice at the start, and of 2 k items and scores for each user.
    """
    best = Best(len(queries), k)
    lowest, highest = _score_bounds(queries, candidates, wanted)
    hidden = hidden.take(np.argsort(hidden.items, kind="stable"))
    rows, start = np.arange(len(queries)), 0
    while start < len(candidates) and len(rows):
        stop = min(len(candidates), start + _tile_items(len(rows)))
        scores = _scores(queries[rows], candidates[start:stop], _places(hidden, rows, start, stop))
        if start == 0:
            # At its own tile, a bound is reached by scores that count.
            best.bounds[rows] = _just_below(_kth_or_lower(scores, k))
        possible = highest >= best.bounds[wanted.rows]
        floors = np.full(len(queries), np.inf, np.float32)
        np.minimum.at(floors, wanted.rows[possible], lowest[possible])
        row, item, score = _above(scores, tf.constant(np.maximum(floors, best.bounds)[rows]))
        best.add(rows[row.numpy()], item.numpy() + start, score.numpy())
        rows, start = rows[floors[rows] < np.inf], stop
    return best.items_in_order()


def _scores(queries: np.ndarray, candidates: np.ndarray, hidden: np.ndarray) -> tf.Tensor:
    """Return the scores [users, items], -inf at the hidden places and in the columns that fill up the last group."""
    scores = _masked_scores(tf.constant(queries), tf.constant(candidates), tf.constant(hidden))
    missing = -len(candidates) % GROUP_ITEMS
    return tf.pad(scores, [[0, 0], [0, missing]], constant_values=-np.inf) if missing else scores


@tf.function(input_signature=[tf.TensorSpec([None, None])] * 2 + [tf.TensorSpec([None, 2], tf.int64)])
def _masked_scores(queries: tf.Tensor, candidates: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
    lowest = tf.fill([tf.shape(hidden)[0]], -float("inf"))
    return tf.tensor_scatter_nd_update(tf.matmul(queries, candidates, transpose_b=True), hidden, lowest)


@tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None])])
def _above(scores: tf.Tensor, bounds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return (row, item, score) of each score above its row's bound, by row and then by item."""
    grouped = tf.reshape(scores, [tf.shape(scores)[0], -1, GROUP_ITEMS])
    groups = tf.where(tf.reduce_max(grouped, axis=2) > bounds[:, None])
    held = tf.gather_nd(grouped, groups)
    found = tf.where(held > tf.gather(bounds, groups[:, 0])[:, None])
    group = tf.gather(groups, found[:, 0])
    return group[:, 0], group[:, 1] * GROUP_ITEMS + found[:, 1], tf.gather_nd(held, found)


def _kth_or_lower(scores: tf.Tensor, k: int) -> np.ndarray:
    """Return a score that at least k of each row reach, float32 [users]: the kth of the maxima of some more groups."""
    users, items = scores.shape
    group = GROUP_ITEMS
    while group > 1 and items // group < 2 * k:
        group //= 2
    maxima = tf.reduce_max(tf.reshape(scores, [users, group, -1]), axis=1).numpy()
    return np.sort(maxima, axis=1)[:, -k] if k <= maxima.shape[1] else np.full(users, -np.inf, np.float32)


def _just_below(scores: np.ndarray) -> np.ndarray:
    # Below 0 by a normal number, since TensorFlow takes subnormal ones for 0.
    below: np.ndarray = np.minimum(np.nextafter(scores, np.float32(-np.inf)), scores - np.finfo(np.float32).tiny)
    return below


def _tile_items(users: int) -> int:
    return max(GROUP_ITEMS, min(SCORES_PER_TILE // users, MOST_ITEMS_PER_TILE) // GROUP_ITEMS * GROUP_ITEMS)


def _places(hidden: Pairs, rows: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return where hidden pairs, by rising item, lie in a tile of the users `rows`, ascending: int64 [n, 2]."""
    here = hidden.take(slice(*np.searchsorted(hidden.items, [start, stop])))
    place = np.minimum(np.searchsorted(rows, here.rows), len(rows) - 1)
    found: np.ndarray = np.stack([place, here.items - start], axis=1)[rows[place] == here.rows]
    return found


def _score_bounds(queries: np.ndarray, candidates: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 [pairs] below and above what any matrix product gives a pair."""
    lowest, highest = np.zeros(len(pairs.rows), np.float32), np.zeros(len(pairs.rows), np.float32)
    for start in range(0, len(pairs.rows), PAIRS_PER_PIECE):
        piece = slice(start, start + PAIRS_PER_PIECE)
        products = queries[pairs.rows[piece]] * candidates[pairs.items[piece]]
        score, slack = products.sum(axis=1), ROUNDING * np.abs(products).sum(axis=1) + np.finfo(np.float32).tiny
        lowest[piece], highest[piece] = score - slack, score + slack
    return lowest, highest
