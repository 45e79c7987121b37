from pathlib import Path

import numpy as np
import pytest

from penstock_training.data.dataset import open_dataset
from penstock_training.data.inputs import match
from penstock_training.data.rows import SplitRows
from penstock_training.data.vocabulary import load_counts
from penstock_training.evaluation.evaluate import Evaluator
from penstock_training.evaluation.scorers import Scorer
from penstock_training.recipe import parse_recipe

RECIPE = """
task: {task}
model: {{kind: matrix_factorisation}}
loss: {{kind: {loss}}}
training: {{epochs: 1, batch_rows: 8}}
evaluation: {{k: [{k}], filter_seen: {filter_seen}, batch_rows: 96}}
"""


def evaluator(
    events: Path, task: str = "implicit", loss: str = "logistic", k: str = "5", filter_seen: str = "true"
) -> Evaluator:
    recipe = parse_recipe(RECIPE.format(task=task, loss=loss, k=k, filter_seen=filter_seen), "r")
    dataset = open_dataset(str(events))
    counts = load_counts(dataset, "item_id")
    return Evaluator(recipe, dataset, match(recipe, "r", dataset), counts)


def knowing(judge: Evaluator) -> Scorer:
    """Score 1 for the pairs of the test split and 0 for all others."""
    test = SplitRows(judge.dataset, "test", judge.inputs, 100).all()
    liked = np.zeros((judge.inputs.user_vocabulary.size, judge.items), np.float32)
    liked[test.users, test.items] = 1
    return Scorer("knowing", lambda users: liked[users], np.eye(judge.items, dtype=np.float32))


def test_who_knows_the_answers_is_perfect(events: Path) -> None:
    judge = evaluator(events, k="100")
    metrics = judge.evaluate(knowing(judge)).metrics
    assert {name: value for name, (value, _) in metrics.items() if name != "log_loss"} == pytest.approx(
        {"recall@100": 1, "ndcg@100": 1, "hit_rate@100": 1, "mrr@100": 1, "auc": metrics["auc"][0]}
    )
    assert metrics["auc"][0] > 0.9


def test_batches_of_the_evaluation_do_not_change_the_rows(events: Path) -> None:
    judge = evaluator(events)
    rows = {size: SplitRows(judge.dataset, "test", judge.inputs, size).all() for size in (7, 400, 1000)}
    assert {len(found.users) for found in rows.values()} == {400}
    assert len({found.items.tobytes() for found in rows.values()}) == 1


def test_other_protocols_have_other_stamps(events: Path) -> None:
    stamps = {
        evaluator(events).protocol.stamp,
        evaluator(events, k="6").protocol.stamp,
        evaluator(events, filter_seen="false").protocol.stamp,
        evaluator(events, task="rating", loss="squared_error").protocol.stamp,
    }
    assert len(stamps) == 4
    assert evaluator(events).protocol.stamp in stamps


def test_rating_errors_count_every_row(events: Path) -> None:
    judge = evaluator(events, task="rating", loss="squared_error")
    ones = np.ones((judge.items, 1), np.float32)
    metrics = judge.evaluate(Scorer("three", lambda users: np.full((len(users), 1), 3, np.float32), ones)).metrics
    labels = SplitRows(judge.dataset, "test", judge.inputs, 100).all().labels
    assert metrics["rmse"][0] == pytest.approx(np.sqrt(np.mean((labels - 3) ** 2)))
    assert metrics["mae"][0] == pytest.approx(np.mean(np.abs(labels - 3)))
