import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from penstock_shared import DataRefused, UserMistake
from penstock_training import lock
from penstock_training.recipe import parse_recipe
from penstock_training.train import evaluate, fit, restore_run

RETRIEVAL = """
task: retrieval
model: {kind: two_tower, dimension: 8, hidden: [8]}
loss: {kind: in_batch_softmax}
optimizer: {embeddings: {kind: adam, learning_rate: 0.01}, dense: {kind: adam}}
training: {epochs: 4, batch_rows: 128, window_blocks: 3, checkpoint_every_steps: 7, unknown_user_rate: 0.1}
evaluation: {k: [5], every_epochs: 2}
"""
RATING = """
task: rating
model: {kind: matrix_factorisation, dimension: 4, l2: 0.01}
loss: {kind: squared_error}
training: {epochs: 30, batch_rows: 128, window_blocks: 3}
evaluation: {k: [5], every_epochs: 0}
"""
IMPLICIT = """
task: implicit
model: {kind: matrix_factorisation, dimension: 8}
loss: {kind: logistic}
training: {epochs: 15, batch_rows: 128, window_blocks: 3}
evaluation: {k: [5], every_epochs: 0}
"""
STEPS = 4 * (2400 // 128)


def written(path: Path, recipe: str) -> str:
    path.write_text(recipe)
    return str(path)


def weights(workdir: Path) -> dict[str, bytes]:
    """Return every variable of a run's last checkpoint, slots included, as bytes."""
    prefix = sorted((workdir / "checkpoints").glob("step-*"))[-1] / "state"
    reader = tf.train.load_checkpoint(str(prefix))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


@pytest.fixture(scope="module")
def unbroken(events: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    fit(written(folder / "recipe.yaml", RETRIEVAL), str(events), str(folder / "run"))
    return folder / "run"


def metrics(workdir: Path) -> dict[str, dict[str, float]]:
    document = json.loads((workdir / "metrics.json").read_text())
    return {
        result["scorer"]: {name: metric["value"] for name, metric in result["metrics"].items()}
        for result in document["results"]
    }


def test_a_run_leaves_all_that_describes_it(unbroken: Path) -> None:
    assert {path.name for path in unbroken.iterdir()} == {
        "recipe.yaml", "run.json", "metrics.json", "metrics.jsonl", "losses.jsonl", "checkpoints", "tensorboard",
        "lock",
    }  # fmt: skip
    assert parse_recipe((unbroken / "recipe.yaml").read_text(), "r") == parse_recipe(RETRIEVAL, "r")
    assert [json.loads(line)["epoch"] for line in (unbroken / "metrics.jsonl").read_text().splitlines()] == [2]
    assert [path.name for path in sorted((unbroken / "checkpoints").iterdir())] == [
        f"step-{STEPS // 7 * 7:010d}",
        f"step-{STEPS:010d}",
    ]
    values = [
        value
        for path in (unbroken / "tensorboard").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
    shares = [float(tf.make_ndarray(value.tensor)) for value in values if value.tag == "input_wait_share"]
    assert len(shares) == sum(value.tag == "loss" for value in values) > 0
    assert all(0 <= share <= 1 for share in shares)
    protocol = json.loads((unbroken / "metrics.json").read_text())["protocol"]
    assert protocol["rows"] == 400
    assert protocol["left_out"]["rows of users outside the vocabulary"] == 20


def test_the_model_beats_popularity_where_users_have_a_taste(unbroken: Path) -> None:
    found = metrics(unbroken)
    assert found["model"]["ndcg@5"] > 1.2 * found["popularity"]["ndcg@5"]


def test_ratings_beat_the_biases(events: Path, tmp_path: Path) -> None:
    fit(written(tmp_path / "recipe.yaml", RATING), str(events), str(tmp_path / "run"))
    found = metrics(tmp_path / "run")
    # The label is 2 + item % 3 with noise of 0.5, rounded: nobody can do better than 0.5.
    assert 0.5 < found["model"]["rmse"] < 0.65
    assert found["model"]["rmse"] < found["mean plus biases"]["rmse"]


def test_implicit_training_tells_taken_items_from_others(events: Path, tmp_path: Path) -> None:
    fit(written(tmp_path / "recipe.yaml", IMPLICIT), str(events), str(tmp_path / "run"))
    found = metrics(tmp_path / "run")
    assert found["model"]["auc"] > found["popularity"]["auc"]


def test_a_finished_run_only_evaluates_again(events: Path, unbroken: Path, tmp_path: Path) -> None:
    before = weights(unbroken), metrics(unbroken)
    fit(written(tmp_path / "recipe.yaml", RETRIEVAL), str(events), str(unbroken))
    evaluate(str(unbroken))
    assert (weights(unbroken), metrics(unbroken)) == before


def test_a_workdir_of_another_recipe_is_refused(events: Path, unbroken: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "recipe.yaml", RETRIEVAL.replace("epochs: 4", "epochs: 5"))
    with pytest.raises(UserMistake, match=r"another recipe; .* training\.epochs: 4 in the folder, 5 given"):
        fit(other, str(events), str(unbroken))


def test_a_workdir_of_another_dataset_is_refused(unbroken: Path, tmp_path: Path) -> None:
    from tiny_events import write_events

    other = write_events(tmp_path, seed=6)
    with pytest.raises(UserMistake, match="holds a run on dataset digest"):
        fit(written(tmp_path / "recipe.yaml", RETRIEVAL), str(other), str(unbroken))


def test_a_run_follows_its_dataset_to_another_place(events: Path, unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken, tmp_path / "run")
    moved = shutil.copytree(events.parents[1], tmp_path / "moved") / events.parent.name / events.name
    fit(written(tmp_path / "recipe.yaml", RETRIEVAL), str(moved), str(tmp_path / "run"))
    run, _ = restore_run(str(tmp_path / "run"))
    assert run.dataset.manifest_path == str(moved)


def test_two_fits_do_not_share_a_folder(
    events: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.0)
    recipe = written(tmp_path / "recipe.yaml", RETRIEVAL)
    with lock.locked(str(unbroken), "fit"), pytest.raises(UserMistake, match="run: another fit is at work here; wait"):
        fit(recipe, str(events), str(unbroken))
    fit(recipe, str(events), str(unbroken))


@pytest.mark.parametrize("line", ['{"step": 3', "[]", '{"loss": 3}'])
def test_a_curve_that_is_none_is_refused_with_its_line(events: Path, unbroken: Path, tmp_path: Path, line: str) -> None:
    shutil.copytree(unbroken, tmp_path / "run")
    with (tmp_path / "run/losses.jsonl").open("a") as file:
        file.write(line + "\n")
    lines = len((tmp_path / "run/losses.jsonl").read_text().splitlines())
    with pytest.raises(
        DataRefused, match=rf"losses\.jsonl: line {lines} is no JSON object about a step .* remove it to"
    ):
        fit(written(tmp_path / "recipe.yaml", RETRIEVAL), str(events), str(tmp_path / "run"))


def test_a_folder_that_is_no_run_is_refused(events: Path, tmp_path: Path) -> None:
    recipe = written(tmp_path / "recipe.yaml", RETRIEVAL)
    with pytest.raises(UserMistake, match=r"is not empty and holds no run\.json"):
        fit(recipe, str(events), str(tmp_path))
    with pytest.raises(UserMistake, match="is not a run"):
        restore_run(str(tmp_path))
