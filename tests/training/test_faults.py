"""Break models and data, and expect to be told the part, layer, feature, batch and blocks."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny_events import ROWS_PER_BLOCK, TRAIN_ROWS, TRAIN_SHARDS, write_events

from penstock_shared.errors import DataRefused
from penstock_training.cli import main
from penstock_training.data.dataset import open_dataset
from penstock_training.fitting import run as run_module
from penstock_training.fitting.checkpoint import PREFIX, Checkpoints
from penstock_training.fitting.faults import ModelFault, Parts, blaming
from penstock_training.fitting.run import Run, build_run, check_run
from penstock_training.fitting.step import NotFinite
from penstock_training.fitting.trouble import drawn_from
from penstock_training.models import MODELS
from penstock_training.models.two_tower import TwoTowerModel
from penstock_training.recipe import parse_recipe
from penstock_training.train import fit

RETRIEVAL = """
task: retrieval
model: {kind: two_tower, dimension: 8, hidden: [8]}
loss: {kind: in_batch_softmax}
training: {epochs: 2, batch_rows: 128, window_blocks: 3}
evaluation: {k: [5], every_epochs: 0}
"""
RATING = """
task: rating
model: {kind: matrix_factorisation, dimension: 4}
loss: {kind: squared_error}
training: {epochs: 2, batch_rows: 128, window_blocks: 3, checkpoint_every_steps: 1, keep_checkpoints: 3}
evaluation: {every_epochs: 0, batch_rows: 64}
"""


class WrongInput(TwoTowerModel):
    """Give a layer one column too few."""

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        return self.user_layers[0](tf.gather(self.users, users)[:, 1:])


class WrongType(TwoTowerModel):
    """Multiply a float by an integer."""

    def candidates(self, items: tf.Tensor) -> tf.Tensor:
        return super().candidates(items) * tf.cast(items, tf.int64)[:, None]


class WrongWidth(TwoTowerModel):
    """Return queries of another width than candidates."""

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        return super().queries(users)[:, :5]


class WrongIds(TwoTowerModel):
    """Look users up beyond their table."""

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        return super().queries(users * 1000)


class WrongScores(TwoTowerModel):
    """Take ids of the type that training has, and not that of evaluation."""

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        return super().queries(users + tf.zeros_like(users, tf.int32))


class WrongName(TwoTowerModel):
    """Take a layer that was never made."""

    def queries(self, users: tf.Tensor) -> tf.Tensor:
        return super().queries(self.forgotten(users))


class WrongKey(TwoTowerModel):
    """Look into a mapping for what it does not have."""

    def candidates(self, items: tf.Tensor) -> tf.Tensor:
        return {}["tower"]


class OneNumber(TwoTowerModel):
    """Give no vectors."""

    def candidates(self, items: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(super().candidates(items), axis=1)


class WrongTable(TwoTowerModel):
    """Make a table whose shape does not fit."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        self.extra = tf.reshape(self.users, [7, 7])


def set_up(text: str, manifest: Path) -> Run:
    recipe, dataset = parse_recipe(text, "r"), open_dataset(str(manifest))
    return build_run(recipe, dataset, check_run(recipe, "r", dataset))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            WrongInput,
            r"model two_tower, queries, layer 'user_dense_0': Input 0 .* expected axis -1 .* value 8, but received "
            r"input with shape \(128, 7\) \(\S*test_faults\.py:\d+, in queries\)\n  given: user_id int32 \[128\]$",
        ),
        (
            WrongType,
            r"model two_tower, candidates: .* type int64 that does not match type float32 .*"
            r"\(\S*test_faults\.py:\d+, in candidates\)\n  given: item_id int32 \[128\]$",
        ),
        (
            WrongWidth,
            r"model two_tower, loss: Dimensions must be equal, but are \d+ and \d+ .*\n"
            r"  given: queries float32 \[128, 5\], candidates float32 \[128, 9\]$",
        ),
        (
            WrongName,
            r"model two_tower, queries: AttributeError: .* 'forgotten' \(\S*:\d+, in queries\)\n  given: user_id",
        ),
        (WrongKey, r"model two_tower, candidates: KeyError: 'tower' \(\S*:\d+, in candidates\)\n  given: item_id"),
        (
            WrongTable,
            r"model two_tower cannot be built: .*reshape.*\(\S*test_faults\.py:\d+, in __init__\)\n"
            r"  given: 84 user ids, \d+ item ids$",
        ),
    ],
)
def test_a_model_that_does_not_fit_together_is_told_by_part_layer_and_feature(
    events: Path, monkeypatch: pytest.MonkeyPatch, model: type[TwoTowerModel], message: str
) -> None:
    monkeypatch.setitem(MODELS, "two_tower", model)

    def train_a_step() -> None:
        run = set_up(RETRIEVAL, events)
        run.trainer.run(iter(run.feed.training_batches(1, 0, 0, 3)), 1)

    with pytest.raises(ModelFault, match=re.compile(message, re.DOTALL)):
        train_a_step()


def test_a_fault_on_a_batch_is_told_without_a_traceback_which_is_kept(
    events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MODELS, "two_tower", WrongIds)
    (tmp_path / "recipe.yaml").write_text(RETRIEVAL)
    run = tmp_path / "run"
    assert main(["fit", str(tmp_path / "recipe.yaml"), "--dataset", str(events), "--workdir", str(run)]) == 1
    said = capsys.readouterr().err
    assert re.match(
        r"penstock-train: step [12] of 36, epoch 1, or the one before: model two_tower, (queries|update)", said
    )
    assert re.search(r": indices\[\d+\] = \d+000 is not in \[0, 84\)", said)
    assert re.search(r"\n  batch: user_id \d+ to \d+, item_id \d+ to \d+\n  drawn from: v1/train/0000", said)
    assert f"\n  traceback: {run}/fault.txt\n" in said
    assert "Traceback" not in said
    assert "Traceback" in (run / "fault.txt").read_text()


def test_the_attributes_that_a_part_takes_are_named() -> None:
    parts = Parts("mine")
    fault = ValueError("boom")
    with pytest.raises(ValueError), parts.part("queries", {"user_id": tf.zeros([2], tf.int32)}, ("age", "city")):
        raise fault
    assert str(parts.blamed(fault)) == (
        "model mine, queries: boom\n  given: user_id int32 [2] and the attributes age, city"
    )
    assert Parts("mine").blamed(fault) is None


def test_a_model_that_fails_to_score_is_told_by_part_and_ids(events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "two_tower", WrongScores)
    run = set_up(RETRIEVAL, events)
    run.trainer.run(iter(run.feed.training_batches(1, 0, 0, 3)), 1)
    scorer = run.scorer()
    message = r"model two_tower, queries, asked for scores: .*int64.*int32.*\(\S*test_faults\.py:\d+, in queries\)\n"
    with pytest.raises(ModelFault, match=message + r"  given: user ids int64 \[2\]$"):
        scorer.queries(np.array([3, 4]))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (WrongScores, r"queries, asked for scores: cannot compute AddV2 .* \(\S*:\d+, in queries\)\n  given: user ids"),
        (
            WrongName,
            r"queries, asked for scores: AttributeError: .* 'forgotten' \(\S*:\d+, in queries\)\n  given: user",
        ),
        (WrongWidth, r"queries, asked for scores: found float32 \[\d+, 5\], expected float32 \[\d+, 9\]"),
        (OneNumber, r"candidates, asked for scores: found float32 \[\d+\], expected float32 \[\d+, width\]"),
        (WrongTable, r"cannot be built: "),
    ],
)
def test_a_model_that_was_changed_since_is_told_by_evaluate_and_export(
    fitted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: type[TwoTowerModel],
    message: str,
) -> None:
    monkeypatch.setitem(MODELS, "two_tower", model)
    for arguments in (["evaluate", str(fitted)], ["export", str(fitted), "--out", str(tmp_path / "model")]):
        (fitted / "fault.txt").unlink(missing_ok=True)
        assert main(arguments) == 1
        said = capsys.readouterr().err
        assert re.match("penstock-train: model two_tower,? " + message, said)
        assert said.endswith(f"\n  traceback: {fitted}/fault.txt\n")
        assert "Traceback" in (fitted / "fault.txt").read_text()
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def fitted(events: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    (folder / "recipe.yaml").write_text(RETRIEVAL)
    fit(str(folder / "recipe.yaml"), str(events), str(folder / "run"))
    return folder / "run"


def test_ids_that_no_table_has_are_the_datasets_fault(tmp_path: Path) -> None:
    row = 1000
    manifest = write_events(tmp_path, stray_item_row=row)
    (tmp_path / "recipe.yaml").write_text(RETRIEVAL)
    with pytest.raises(DataRefused) as raised:
        fit(str(tmp_path / "recipe.yaml"), str(manifest), str(tmp_path / "run"))
    said = str(raised.value)
    assert re.match(
        r"step \d+ of 36, epoch 1: feature item_id has ids for which table items has no row: 255; expected", said
    )
    assert holds(said.partition("drawn from: ")[2], row)
    manifest = write_events(tmp_path / "test", stray_item_row=TRAIN_ROWS + 7)
    with pytest.raises(DataRefused, match=r"split test: feature item_id has ids for which table items has no row: 255"):
        fit(str(tmp_path / "recipe.yaml"), str(manifest), str(tmp_path / "run2"))


def holds(drawn: str, row: int) -> bool:
    """Tell whether shards and blocks, as a message names them, hold a training row."""
    shard, place = divmod(row, TRAIN_ROWS // TRAIN_SHARDS)
    blocks = re.search(rf"train/0000{shard}\.tfrecord block ([0-9, to]+)", drawn)
    ranges = [list(map(int, piece.split(" to "))) for piece in blocks[1].split(", ")] if blocks else []
    return any(found[0] <= place // ROWS_PER_BLOCK <= found[-1] for found in ranges)


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_label_that_is_no_number_is_found_with_its_batch_and_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    row = 1700
    manifest = write_events(tmp_path, nan_row=row)
    (tmp_path / "recipe.yaml").write_text(RATING.replace("epochs: 2", f"epochs: 2, lanes: {lanes}"))
    with pytest.raises(DataRefused, match="label rating is not a finite number in some of the first 24"):
        fit(str(tmp_path / "recipe.yaml"), str(manifest), str(tmp_path / "run"))
    # In a large dataset only the first rows are read beforehand.
    monkeypatch.setattr(run_module, "MEAN_LABEL_ROWS", 64)
    with pytest.raises(NotFinite) as raised:
        fit(str(tmp_path / "recipe.yaml"), str(manifest), str(tmp_path / "run2"))
    said = str(raised.value)
    found = re.match(r"step (\d+) of 36, epoch (\d): the loss is not a finite number; ", said)
    assert found
    step = int(found[1])
    assert (
        f"the last good checkpoint is {tmp_path}/run2/checkpoints/step-{step - 1:010d}; numbers of rating are" in said
    )
    assert re.search(r"rating [0-9.]+ to [0-9.]+ \(1 of 128 not finite\)\n", said)
    assert holds(said.partition("drawn from: ")[2], row)


def test_every_block_is_one_that_some_batches_are_drawn_from(events: Path) -> None:
    implicit = RATING.replace("task: rating", "task: implicit").replace("kind: squared_error", "kind: logistic")
    run = set_up(implicit.replace("epochs: 2", "epochs: 1, lanes: 2"), events)
    named = ["; ".join(drawn_from(run, step)) for step in range(run.steps)]
    assert 0 < sum(holds(text, 1700) for text in named) < run.steps / 2
    assert all(any(holds(text, row) for text in named) for row in range(0, TRAIN_ROWS, ROWS_PER_BLOCK))


def test_the_last_good_checkpoint_is_one_whose_numbers_are_finite(events: Path, tmp_path: Path) -> None:
    recipe = RATING.replace("training: {", "optimizer: {embeddings: {kind: sgd, learning_rate: 1e5}}\ntraining: {")
    (tmp_path / "recipe.yaml").write_text(recipe)
    with pytest.raises(NotFinite) as raised:
        fit(str(tmp_path / "recipe.yaml"), str(events), str(tmp_path / "run"))
    said = str(raised.value)
    assert "lower optimizer.*.learning_rate and fit into a new --workdir\n  batch: user_id " in said
    found = re.search(r"the last good checkpoint is \S*/(step-\d+)", said)
    checkpoints = Checkpoints(str(tmp_path / "run/checkpoints"), tf.train.Checkpoint(), 3, None)
    good = []
    for step in checkpoints.steps():
        reader = tf.train.load_checkpoint(f"{checkpoints.path(step)}/{PREFIX}")
        floats = [name for name, dtype in reader.get_variable_to_dtype_map().items() if dtype.is_floating]
        if all(np.isfinite(reader.get_tensor(name)).all() for name in floats):
            good.append(f"step-{step:010d}")
    assert good[:1] == ([found[1]] if found else [])
    assert found or "no checkpoint is good: those kept (" in said


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_model_whose_scores_are_no_numbers_is_neither_judged_nor_exported(events: Path, value: float) -> None:
    run = set_up(RETRIEVAL.replace(", hidden: [8]", ""), events)
    users, items = run.trainer.model.users, run.trainer.model.items
    users.assign(tf.fill(users.shape, value))
    items.assign(tf.fill(items.shape, 1e10))
    with pytest.raises(NotFinite, match="model two_tower: not all of its scores are finite numbers, so training has"):
        run.evaluator.evaluate(run.scorer())


def test_a_model_that_does_not_fit_into_memory_is_told_without_a_traceback() -> None:
    message = r"^model big cannot be built: OOM when allocating tensor with shape\[\d+,\d+\] .* \(\S*test_faults\.py:"
    with pytest.raises(ModelFault, match=message), blaming("model big cannot be built", "2 user ids"):
        # More bytes than a processor has addresses for.
        tf.raw_ops.Empty(shape=[1 << 30, 1 << 20], dtype=tf.float32)
