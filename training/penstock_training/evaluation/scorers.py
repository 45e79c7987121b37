"""Score users and items: the model, and the baselines it has to beat, in one form."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from penstock_training.data.rows import SplitRows
from penstock_training.fitting.faults import blaming
from penstock_training.fitting.step import NotFinite
from penstock_training.models.base import Recommender, log_probability

IDS_PER_PIECE = 1 << 16
# Shrinkage towards no bias, as many imagined rows without one (Koren, Factor in the Neighbors, 2010).
ITEM_SHRINKAGE, USER_SHRINKAGE = 25.0, 10.0
SWEEPS = 3


@dataclass(frozen=True)
class Scorer:
    """Hold the score of any user and item as the dot product of a query and a candidate, both float32.

    `queries` maps int64 user ids [n] to [n, width]; `candidates` is [item ids, width].
    """

    name: str
    queries: Callable[[np.ndarray], np.ndarray]
    candidates: np.ndarray

    def scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the float64 scores of pairs of ids."""
        pieces = [
            np.einsum("rw,rw->r", self.queries(users[start:stop]), self.candidates[items[start:stop]], dtype=np.float64)
            for start, stop in _pieces(len(users))
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0)


def model_scorer(model: Recommender, items: int) -> Scorer:
    """Return the scorer of a trained model for `items` item ids.

    Where the model fails it raises ModelFault, and NotFinite where scores may be no finite numbers, which rank nothing.
    """

    def query(users: np.ndarray) -> np.ndarray:
        with blaming(f"model {model.name}, queries, asked for scores", f"user ids {users.dtype} [{len(users)}]"):
            found = [
                _vectors(model.queries(tf.constant(users[start:stop])), stop - start, candidates.shape[1])
                for start, stop in _pieces(len(users))
            ]
        queries = np.concatenate(found)
        if not _largest(queries) * largest_candidate * queries.shape[1] < float(np.finfo(np.float32).max):
            raise NotFinite(
                f"model {model.name}: not all of its scores are finite numbers, so training has diverged; lower "
                "optimizer.*.learning_rate and fit into a new --workdir"
            )
        return queries

    with blaming(f"model {model.name}, candidates, asked for scores", f"item ids int64 [{items}]"):
        candidates = np.concatenate(
            [
                _vectors(model.candidates(tf.range(start, stop, dtype=tf.int64)), stop - start)
                for start, stop in _pieces(items)
            ]
        )
    largest_candidate = _largest(candidates)
    return Scorer("model", query, candidates)


def _vectors(found: tf.Tensor, ids: int, width: int | None = None) -> np.ndarray:
    """Return what a model gave for some ids; raises ValueError where it is no float32 [ids, width]."""
    vectors = np.asarray(found)
    fits = vectors.ndim == 2 and len(vectors) == ids and width in (None, vectors.shape[1])
    if not fits or vectors.dtype != np.float32:
        wanted = f"[{ids}, {width or 'width'}]"
        raise ValueError(f"found {vectors.dtype} {list(vectors.shape)}, expected float32 {wanted}")
    return vectors


def popularity(item_counts: np.ndarray) -> Scorer:
    """Score an item by the log of its share of the vocabulary's counts, float64 [item ids]."""
    return Scorer(
        "popularity", lambda users: np.ones((len(users), 1), np.float32), log_probability(item_counts)[:, None]
    )


def mean_plus_biases(train: SplitRows, users: int, items: int) -> Scorer:
    """Predict mean + user bias + item bias, fitted on the training rows by alternating shrunk means."""
    count, total = 0, 0.0
    for rows in train:
        count, total = count + len(rows.labels), total + rows.labels.sum()
    mean = total / count
    user_bias, item_bias = np.zeros(users), np.zeros(items)
    for _ in range(SWEEPS):
        unexplained = ((rows.items, rows.labels - mean - user_bias[rows.users]) for rows in train)
        item_bias = _shrunk_means(unexplained, items, ITEM_SHRINKAGE)
        unexplained = ((rows.users, rows.labels - mean - item_bias[rows.items]) for rows in train)
        user_bias = _shrunk_means(unexplained, users, USER_SHRINKAGE)
    ones = np.ones(users)
    user_side = np.stack([user_bias + mean, ones], axis=1).astype(np.float32)
    item_side = np.stack([np.ones(items), item_bias], axis=1).astype(np.float32)
    return Scorer("mean plus biases", lambda ids: user_side[ids], item_side)


def _shrunk_means(pieces: Iterable[tuple[np.ndarray, np.ndarray]], size: int, shrinkage: float) -> np.ndarray:
    sums, counts = np.zeros(size), np.full(size, shrinkage)
    for ids, values in pieces:
        sums += np.bincount(ids, values, size)
        counts += np.bincount(ids, minlength=size)
    means: np.ndarray = sums / counts
    return means


def _largest(vectors: np.ndarray) -> float:
    """Return the largest magnitude in vectors, NaN where one is."""
    return float(max(vectors.max(initial=0.0), -vectors.min(initial=0.0)))


def _pieces(count: int) -> list[tuple[int, int]]:
    return [(start, min(count, start + IDS_PER_PIECE)) for start in range(0, count, IDS_PER_PIECE)]
