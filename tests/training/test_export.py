import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny_dataset import TinyVocabulary  # noqa: F401  (the writer's module must import first)

from penstock_shared import DataRefused, UserMistake
from penstock_training.data.vocabulary import load_tokens
from penstock_training.serving.export import export
from penstock_training.serving.recommend import recommend
from penstock_training.train import fit, restore_run

RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 8}
loss: {kind: in_batch_softmax}
training: {epochs: 2, batch_rows: 128, unknown_user_rate: 0.1}
evaluation: {k: [5], every_epochs: 0}
"""


@pytest.fixture(scope="module")
def run_folder(events: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    (folder / "recipe.yaml").write_text(RECIPE)
    fit(str(folder / "recipe.yaml"), str(events), str(folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def model_folder(run_folder: Path) -> Path:
    export(str(run_folder), str(run_folder.parent / "model"))
    return run_folder.parent / "model"


def test_the_saved_model_ranks_raw_items_as_the_trained_model_does(run_folder: Path, model_folder: Path) -> None:
    run, _ = restore_run(str(run_folder))
    scorer = run.scorer()
    users, items = load_tokens(run.dataset, "user_id"), load_tokens(run.dataset, "item_id")
    raw = [*users.tokens.tolist(), 123456789]
    ids = np.array([*range(users.first_id, users.first_id + len(users.tokens)), 0])
    model = tf.saved_model.load(str(model_folder))
    answer = model.signatures["recommend"](user=tf.constant(raw, tf.int64), k=tf.constant(7))
    assert answer["user_known"].numpy().tolist() == [True] * len(users.tokens) + [False]
    scores = scorer.queries(ids) @ scorer.candidates[items.first_id :].T
    order = np.argsort(-scores[:-1], axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(answer["items"].numpy()[:-1], items.tokens[order])
    np.testing.assert_allclose(answer["scores"].numpy()[:-1], np.take_along_axis(scores[:-1], order, 1), rtol=1e-5)


def test_pairs_score_alike_known_and_unknown(run_folder: Path, model_folder: Path) -> None:
    run, _ = restore_run(str(run_folder))
    scorer = run.scorer()
    users, items = load_tokens(run.dataset, "user_id"), load_tokens(run.dataset, "item_id")
    model = tf.saved_model.load(str(model_folder))
    answer = model.signatures["score"](
        user=tf.constant([users.tokens[3]] * 2, tf.int64), item=tf.constant([items.tokens[4], b"never seen"])
    )
    expected = scorer.scores(np.array([users.first_id + 3] * 2), np.array([items.first_id + 4, 2]))
    np.testing.assert_allclose(answer["scores"], expected, rtol=1e-5)
    assert answer["item_known"].numpy().tolist() == [True, False]


def test_k_is_capped_by_the_items(model_folder: Path) -> None:
    model = tf.saved_model.load(str(model_folder))
    answer = model.signatures["recommend"](user=tf.constant([0], tf.int64), k=tf.constant(10_000))
    assert answer["items"].shape[1] == len(set(answer["items"].numpy()[0].tolist())) > 7


def test_the_vocabulary_is_in_variables_and_not_in_the_graph(run_folder: Path, model_folder: Path) -> None:
    run, _ = restore_run(str(run_folder))
    token = load_tokens(run.dataset, "item_id").tokens[0]
    assert token not in (model_folder / "saved_model.pb").read_bytes()
    assert token in b"".join(path.read_bytes() for path in (model_folder / "variables").iterdir())


def test_model_json_describes_the_signatures(run_folder: Path, model_folder: Path, events: Path) -> None:
    described = json.loads((model_folder / "model.json").read_text())
    model = tf.saved_model.load(str(model_folder))
    for name, signature in described["signatures"].items():
        function = model.signatures[name]
        inputs = {entry["name"]: entry for entry in signature["inputs"]}
        assert {spec.name: spec.dtype.name for spec in function.structured_input_signature[1].values()} == {
            entry: inputs[entry]["dtype"] for entry in inputs
        }
        outputs = {entry["name"]: entry["dtype"] for entry in signature["outputs"]}
        assert {key: spec.dtype.name for key, spec in function.structured_outputs.items()} == outputs
    assert described["dataset"]["digest"] == json.loads(events.read_text())["digest"]
    assert described["metrics"] == json.loads((run_folder / "metrics.json").read_text())
    assert described["recipe"]["model"]["kind"] == "two_tower"


def test_recommend_prints_items_and_says_that_a_user_is_unknown(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recommend(str(model_folder), "-5000", 3)
    known = capsys.readouterr()
    assert known.out.count("item-") == 3
    assert known.err == ""
    recommend(str(model_folder), "99999999", 4)
    unknown = capsys.readouterr()
    assert unknown.out.count("item-") == 4
    assert "user 99999999 is not in the vocabulary" in unknown.err


@pytest.mark.parametrize("user", ["abc", str(2**63), "", " 1", "1_0"])
def test_a_user_of_the_wrong_type_is_a_mistake(model_folder: Path, user: str) -> None:
    with pytest.raises(UserMistake, match="expected an int64"):
        recommend(str(model_folder), user, 3)


def test_more_items_than_an_int32_counts_are_all_there_are(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recommend(str(model_folder), "-5000", 2**40)
    assert capsys.readouterr().out.count("item-") > 100


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("model", "is there already"),
        ("run/run.json/model", "run.json/model: cannot be made a folder: Not a directory; give another place"),
        ("", "names no folder that could be made"),
    ],
)
def test_a_place_that_cannot_take_the_model_is_refused_before_the_work(
    run_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, out: str, message: str
) -> None:
    monkeypatch.chdir(model_folder.parent)
    monkeypatch.setattr("penstock_training.serving.export.restore_run", None)
    with pytest.raises(UserMistake, match=message):
        export(str(run_folder), out)


def test_a_folder_that_is_no_run_leaves_nothing_at_the_place_of_the_model(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="is not a run"):
        export(str(tmp_path / "run"), str(tmp_path / "models/first"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("manifest", None, "lacks a run's keys, manifest, dataset_digest, recipe"),
        ("manifest", "absent/manifest.json", "was trained on absent/manifest.json, where nothing is now; put the"),
        ("dataset_digest", "other", "was started on dataset digest other, but .*; put that version there again"),
    ],
)
def test_a_run_whose_dataset_is_gone_says_so(
    run_folder: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    described = json.loads((run_folder / "run.json").read_text()) | {key: value}
    (tmp_path / "run.json").write_text(json.dumps(described))
    with pytest.raises(UserMistake, match=message):
        export(str(tmp_path), str(tmp_path / "model"))


def test_metrics_that_are_damaged_are_told_with_the_remedy(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run/metrics.json").write_text("{")
    with pytest.raises(DataRefused, match=r"metrics\.json: not JSON .*; run penstock-train evaluate"):
        export(str(tmp_path / "run"), str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("saved_model.pb", Path.unlink, "cannot be used: SavedModel file does not exist"),
        ("saved_model.pb", empty, "cannot be used: "),
        ("variables/variables.index", Path.unlink, "cannot be used: .*Failed to find any matching files"),
        ("variables/variables.data-00000-of-00001", empty, "cannot be used: .*; export the run again"),
        ("model.json", empty, r"model\.json: not JSON"),
    ],
)
def test_a_damaged_model_is_refused(
    model_folder: Path, tmp_path: Path, name: str, damage: Callable[[Path], None], message: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(model_folder, model)
    damage(model / name)
    with pytest.raises(DataRefused, match=message):
        recommend(str(model), "1", 3)


def test_a_folder_that_is_no_model_is_refused(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match=r"is not an exported model: it has no model\.json"):
        recommend(str(run_folder), "1", 3)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(DataRefused, match="not JSON"):
        recommend(str(tmp_path), "1", 3)
    for document in ("{}", "[]", "null"):
        (tmp_path / "model.json").write_text(document)
        with pytest.raises(DataRefused, match="its format is None, expected 'penstock-model'"):
            recommend(str(tmp_path), "1", 3)
    (tmp_path / "model.json").write_text('{"format": "penstock-model", "format_version": "2.0"}')
    with pytest.raises(DataRefused, match=r"has format_version 2\.0, expected 1\.0"):
        recommend(str(tmp_path), "1", 3)
