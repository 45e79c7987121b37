import json
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import TinyColumn, TinyVocabulary, write_dataset

from penstock_dataprep.records.blocks import Values
from penstock_shared import UserMistake
from penstock_training.data.dataset import open_dataset
from penstock_training.data.inputs import match
from penstock_training.data.rows import SplitRows
from penstock_training.data.vocabulary import load_counts
from penstock_training.evaluation.evaluate import Evaluator, Result, check_questions
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
    rows = {size: SplitRows(judge.dataset, "test", judge.inputs, size).all() for size in (7, 400, 10**15)}
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


def test_a_split_without_a_known_user_and_item_is_refused_before_training(tmp_path: Path) -> None:
    columns = [TinyColumn(role, role, "int32", "u8", vocabulary=role) for role in ("user", "item")]
    vocabularies = {role: TinyVocabulary("int64", {7: 3, 8: 2}) for role in ("user", "item")}

    def manifest(users: list[int], items: list[int]) -> Path:
        train = {"user": Values(np.full(8, 3)), "item": Values(np.full(8, 3))}
        test = {"user": Values(np.array(users)), "item": Values(np.array(items))}
        root = tmp_path / f"{users}{items}"
        return write_dataset(root, columns, {"train": [train], "test": [test]}, vocabularies)

    def check(path: Path) -> None:
        recipe = parse_recipe(RECIPE.format(task="implicit", loss="logistic", k="1", filter_seen="false"), "r")
        dataset = open_dataset(str(path))
        check_questions(recipe, dataset, match(recipe, "r", dataset))

    with pytest.raises(UserMistake, match=r"manifest\.json: no row of split test has a user and an item of the voc"):
        check(manifest([3, 2, 4], [2, 3, 2]))
    check(manifest([2, 2, 4], [2, 2, 4]))


def test_a_metric_of_one_user_has_no_interval_in_the_documents() -> None:
    document = Result("model", {"recall@5": (0.5, float("nan")), "mrr@5": (0.5, 0.1)}, "s").to_document()
    assert json.loads(json.dumps(document, allow_nan=False))["metrics"] == {
        "recall@5": {"value": 0.5, "error": None},
        "mrr@5": {"value": 0.5, "error": 0.1},
    }
