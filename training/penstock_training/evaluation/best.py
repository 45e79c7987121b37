"""Keep the best items of many users at once while ever more of them come by."""

import numpy as np
import tensorflow as tf


class Best:
    """Keep the scores and items that may be among the first k of each user; where they grow past 2 k, thin them out.

    `bounds` float32 [users] is what a score must exceed to come among a user's first k.
    """

    def __init__(self, users: int, k: int) -> None:
        """Start with none."""
        self.k = k
        self.scores = np.full((users, 2 * k), -np.inf, np.float32)
        self.items = np.full((users, 2 * k), -1, np.int64)
        self.counts = np.zeros(users, np.int64)
        self.bounds = np.full(users, -np.inf, np.float32)

    def add(self, rows: np.ndarray, items: np.ndarray, scores: np.ndarray) -> None:
        """Take in scores [n] of users, ascending, and items, for a user ascending and higher than all before."""
        users, first, counts = np.unique(rows, return_index=True, return_counts=True)
        columns = np.arange(len(rows)) + np.repeat(self.counts[users] - first, counts)
        self.counts[users] += counts
        crowded = self.counts > 2 * self.k
        fits = ~crowded[rows]
        self.scores[rows[fits], columns[fits]] = scores[fits]
        self.items[rows[fits], columns[fits]] = items[fits]
        if not fits.all():
            self._thin_out(np.flatnonzero(crowded), rows[~fits], columns[~fits], items[~fits], scores[~fits])

    def items_in_order(self) -> np.ndarray:
        """Return the first k items of each user, best first, ties by rising item, int64 [users, k]; -1 is none."""
        return np.take_along_axis(self.items, _order(self.scores, self.k), 1)

    def _thin_out(
        self, users: np.ndarray, rows: np.ndarray, columns: np.ndarray, items: np.ndarray, scores: np.ndarray
    ) -> None:
        wide = (len(users), int(columns.max()) + 1)
        held_scores, held_items = np.full(wide, -np.inf, np.float32), np.full(wide, -1, np.int64)
        held_scores[:, : 2 * self.k], held_items[:, : 2 * self.k] = self.scores[users], self.items[users]
        places = np.searchsorted(users, rows), columns
        held_scores[places], held_items[places] = scores, items
        order = _order(held_scores, self.k)
        self.scores[users], self.items[users] = -np.inf, -1
        self.scores[users, : self.k] = np.take_along_axis(held_scores, order, 1)
        self.items[users, : self.k] = np.take_along_axis(held_items, order, 1)
        self.counts[users], self.bounds[users] = self.k, self.scores[users, self.k - 1]


def _order(scores: np.ndarray, k: int) -> np.ndarray:
    # top_k puts the lower index first among equal scores, which is the tie rule: columns are by rising item among ties.
    order: np.ndarray = tf.math.top_k(scores, k).indices.numpy()
    return order
