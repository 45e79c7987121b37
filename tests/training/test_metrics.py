import numpy as np
import pytest

from penstock_training.evaluation.metrics import RANKING_METRICS, auc, log_loss, mae, mean_and_error, rmse, shown

DCG = 1 / np.log2(np.arange(2, 6))


@pytest.mark.parametrize(
    ("hits", "relevant", "k", "recall", "ndcg", "hit_rate", "mrr"),
    [
        ([1, 0, 0, 0], 1, 4, 1.0, 1.0, 1.0, 1.0),
        ([0, 1, 0, 0], 1, 4, 1.0, DCG[1] / DCG[0], 1.0, 0.5),
        ([0, 1, 0, 1], 4, 4, 0.5, (DCG[1] + DCG[3]) / DCG.sum(), 1.0, 0.5),
        ([0, 1, 0, 1], 4, 2, 0.25, DCG[1] / DCG[:2].sum(), 1.0, 0.5),
        ([0, 0, 1, 1], 2, 2, 0.0, 0.0, 0.0, 0.0),
        ([1, 1, 1, 1], 10, 4, 0.4, 1.0, 1.0, 1.0),
        ([0, 0, 0, 0], 3, 4, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_ranking_metrics(
    hits: list[int], relevant: int, k: int, recall: float, ndcg: float, hit_rate: float, mrr: float
) -> None:
    expected = {"recall": recall, "ndcg": ndcg, "hit_rate": hit_rate, "mrr": mrr}
    for name, metric in RANKING_METRICS.items():
        assert metric(np.array([hits], bool), np.array([relevant]), k) == pytest.approx([expected[name]]), name


def test_mean_and_error_cover_the_truth_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    samples = random.exponential(2.0, (2000, 200))
    covered = [abs(mean - 2.0) <= error for mean, error in map(mean_and_error, samples)]
    assert 0.92 < np.mean(covered) < 0.97


def test_errors_of_predictions() -> None:
    predictions, labels = np.array([1.0, 2.0, 4.0]), np.array([1.0, 4.0, 1.0])
    assert rmse(predictions, labels)[0] == pytest.approx((13 / 3) ** 0.5)
    assert mae(predictions, labels)[0] == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [([2, 3], [0, 1], 1.0), ([0, 1], [2, 3], 0.0), ([1, 1], [1, 1], 0.5), ([2, 0], [1], 0.5), ([1, 2], [1], 0.75)],
)
def test_auc(positive: list[float], negative: list[float], expected: float) -> None:
    assert auc(np.array(positive, float), np.array(negative, float))[0] == pytest.approx(expected)


def test_log_loss_by_hand() -> None:
    loss, _ = log_loss(np.array([0.0]), np.array([np.log(3)]))
    assert loss == pytest.approx((np.log(2) + np.log(4)) / 2)


def test_a_metric_is_shown_with_the_interval_that_it_has() -> None:
    assert shown(0.5, 0.125) == "0.5000 ±0.1250"
    assert shown(*mean_and_error(np.array([0.5]))) == shown(0.5, None) == "0.5000"
