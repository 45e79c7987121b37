"""Compute metrics from ranked hits and from predictions: pure numpy functions, one value per user or row.

`hits` is bool [users, ranks]: whether the item at each rank, best first, is relevant. `relevant` is int [users]: how
many relevant items the user has, at least one.
"""

from collections.abc import Callable, Iterable

import numpy as np

NORMAL_95 = 1.959964


def recall(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the share of the relevant items that are among the first k."""
    found: np.ndarray = hits[:, :k].sum(axis=1) / relevant
    return found


def ndcg(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the discounted gain of the first k over that of the best order (Jarvelin and Kekalainen, 2002)."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(relevant, k)]
    held = hits[:, :k]
    gain: np.ndarray = (held @ discounts[: held.shape[1]]) / best
    return gain


def hit_rate(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return 1 where at least one relevant item is among the first k."""
    return hits[:, :k].any(axis=1).astype(np.float64)


def mrr(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return 1 / the rank of the first relevant item, 0 where it is not among the first k."""
    held = hits[:, :k]
    reciprocal: np.ndarray = np.where(held.any(axis=1), 1 / (held.argmax(axis=1) + 1), 0.0)
    return reciprocal


RANKING_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "recall": recall,
    "ndcg": ndcg,
    "hit_rate": hit_rate,
    "mrr": mrr,
}
LOWER_IS_BETTER = ("rmse", "mae", "log_loss")


def metric_names(task: str, k: Iterable[int]) -> list[str]:
    """Return the names of all metrics that an evaluation of a task measures, with cut-offs `k`."""
    if task == "rating":
        return ["rmse", "mae"]
    names = [f"{name}@{cut}" for cut in k for name in RANKING_METRICS]
    return [*names, "auc", "log_loss"] if task == "implicit" else names


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and the half width of its 95 % confidence interval (normal approximation)."""
    error = NORMAL_95 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return float(values.mean()), error


def shown(value: float, error: float | None) -> str:
    """Return a metric for people, without an interval where none is known."""
    return f"{value:.4f}" if error is None or np.isnan(error) else f"{value:.4f} ±{error:.4f}"


def rmse(predictions: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the root mean squared error and its 95 % half width (delta method)."""
    mean, error = mean_and_error(np.square(predictions - labels))
    root = mean**0.5
    return root, error / (2 * root) if root else 0.0


def mae(predictions: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the mean absolute error and its 95 % half width."""
    return mean_and_error(np.abs(predictions - labels))


def auc(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """Return the chance that a positive scores above a negative, ties half, and its half width.

    Both are from Hanley and McNeil, Radiology 143, 1982.
    """
    scores = np.concatenate([positive, negative])
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    n, m = len(positive), len(negative)
    area = float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (q1 - area * area) + (m - 1) * (q2 - area * area)) / (n * m)
    return area, NORMAL_95 * max(0.0, variance) ** 0.5


def log_loss(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """Return the mean negative log likelihood of positives (1) and negatives (0) whose scores are logits."""
    return mean_and_error(np.concatenate([np.logaddexp(0, -positive), np.logaddexp(0, negative)]))
