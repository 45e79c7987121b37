"""Fit with the embedding layer of TPUs, on its path for processors: train, be killed, continue, evaluate, export."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from processes import be_cores, end_of, start
from tensorflow_recommenders.layers.embedding import TPUEmbedding

from penstock_training.data.dataset import open_dataset
from penstock_training.data.lanes import Host
from penstock_training.fitting.run import build_run, check_run
from penstock_training.recipe import parse_recipe
from penstock_training.serving.export import export
from penstock_training.strategies import STRATEGIES, Placement
from penstock_training.strategies.replica import Replica, divide
from penstock_training.tpu.configs import feature_configs, name_lookups
from penstock_training.tpu.ids import batch_of_chip
from penstock_training.tpu.stand_in import CoreTable, Lookups
from penstock_training.tpu.state import carry
from penstock_training.tpu.step import CoreTrainer
from penstock_training.train import evaluate, fit

# The items have more rows than this, the users fewer.
LEAST_ROWS = 100
RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 8, hidden: [8]}
loss: {kind: in_batch_softmax}
optimizer: {embeddings: {kind: adagrad, initial_accumulator: 0.01, epsilon: 1.0e-3}, dense: {kind: adam}}
training: {epochs: 2, batch_rows: 128, window_blocks: 3, checkpoint_every_steps: 7, unknown_item_rate: 0.1}
evaluation: {k: [5], every_epochs: 1}
"""
STEPS = 2 * (2400 // 128)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def cores(events: Path, recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train without a break on the layer of TPU embeddings."""
    run, held = tmp_path_factory.mktemp("cores") / "run", STRATEGIES["tpu"]
    be_cores(LEAST_ROWS)
    try:
        fit(recipe, str(events), str(run), strategy="tpu")
    finally:
        STRATEGIES["tpu"] = held
    return run


def variables(run: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(run / "checkpoints" / f"step-{STEPS:010d}" / "state"))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {name: np.asarray(reader.get_tensor(name)) for name in names}


def metrics(run: Path) -> dict[str, float]:
    model = next(
        held for held in json.loads((run / "metrics.json").read_text())["results"] if held["scorer"] == "model"
    )
    return {name: metric["value"] for name, metric in model["metrics"].items()}


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "losses.jsonl").read_text().splitlines()]


def test_a_run_on_cores_comes_to_the_numbers_of_sparse_kernels(
    events: Path, recipe: str, cores: Path, tmp_path: Path
) -> None:
    fit(recipe, str(events), str(tmp_path / "run"))
    expected, found = variables(tmp_path / "run"), variables(cores)
    assert set(found) == set(expected)
    for name, value in expected.items():
        # Adam divides by the root of small squares, so that rounding shows more in what it updates.
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert losses(cores) == pytest.approx(losses(tmp_path / "run"), rel=1e-5)
    # A score that rounds to the other side of another's moves a row of 400 by a rank.
    assert metrics(cores) == pytest.approx(metrics(tmp_path / "run"), abs=2 / 400)


def test_a_killed_run_on_cores_continues_to_the_bits_of_an_unbroken_one(
    events: Path,
    recipe: str,
    cores: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    arguments = ["fit", recipe, "--dataset", str(events), "--workdir", str(run), "--strategy", "tpu"]
    assert end_of(start(log, arguments, be_cores, LEAST_ROWS, 17)) == -9, log.read_text()
    monkeypatch.setitem(STRATEGIES, "tpu", STRATEGIES["tpu"])
    be_cores(LEAST_ROWS)
    fit(recipe, str(events), str(run), strategy="tpu")
    assert f"continuing after step 14 of {STEPS}" in capsys.readouterr().err
    expected = variables(cores)
    for name, found in variables(run).items():
        assert found.tobytes() == expected[name].tobytes(), name
    for name in ("losses.jsonl", "metrics.json"):
        assert (run / name).read_bytes() == (cores / name).read_bytes()


def test_what_cores_trained_is_evaluated_exported_and_continued_without_them(
    events: Path, recipe: str, cores: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(cores, run)
    evaluate(str(run))
    assert metrics(run) == metrics(cores)
    export(str(run), str(tmp_path / "model"))
    answer = tf.saved_model.load(str(tmp_path / "model")).signatures["recommend"](
        user=tf.constant([5000], tf.int64), k=tf.constant(3)
    )
    assert answer["items"].shape == [1, 3]
    shutil.rmtree(run / f"checkpoints/step-{STEPS:010d}")
    fit(recipe, str(events), str(run))
    expected = variables(cores)
    for name, found in variables(run).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)


def core_trainer(events: Path) -> CoreTrainer:
    recipe, dataset = parse_recipe(RECIPE, "recipe"), open_dataset(str(events))
    placement = Placement(tf.distribute.get_strategy(), least_rows_on_cores=LEAST_ROWS)
    trainer = build_run(recipe, dataset, check_run(recipe, "recipe", dataset), placement).trainer
    assert isinstance(trainer, CoreTrainer)
    return trainer


def test_the_host_reckons_ids_without_any_variable(events: Path) -> None:
    recipe, dataset = parse_recipe(RECIPE, "recipe"), open_dataset(str(events))
    inputs = check_run(recipe, "recipe", dataset)
    trainer = core_trainer(events)
    feed = build_run(recipe, dataset, inputs).feed
    batch = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in batch_of_chip(feed, recipe, 128).items()}
    graph = tf.function(trainer.host_ids).get_concrete_function(tf.constant(0), tf.constant(0, tf.int64), batch).graph
    assert not [held for held, _ in graph.captures if held.dtype == tf.resource]


@pytest.mark.parametrize("hosts", [1, 2])
def test_replicas_are_divided_without_being_asked(hosts: int) -> None:
    whole, count = np.arange(24), 4
    for number in range(count):
        host = Host(number * hosts // count, hosts)
        held = {"row": tf.constant(np.split(whole, hosts)[host.index])}
        own, part = divide(held, Replica(number, count), host)
        np.testing.assert_array_equal(own["row"], whole[number * 6 : number * 6 + 6])
        assert (int(part.first_row), int(part.rows), int(part.batch_rows)) == (number * 6, 6, 24)
        np.testing.assert_array_equal(part.of(tf.constant(whole)), own["row"])


def test_a_checkpoint_carries_tables_and_slots_between_layers() -> None:
    made = []
    for start_from in (1.0, 2.0):
        table = CoreTable("users", tf.TensorShape([5, 3]), tf.float32, Lookups(), lambda: tf.fill([5, 3], start_from))  # noqa: B023
        layer = TPUEmbedding(
            feature_configs(name_lookups([(table, 4)])),
            tf.tpu.experimental.embedding.Adagrad(0.1, initial_accumulator_value=start_from),
        )
        layer.build({"users.0": tf.TensorShape([4])})
        made.append(layer)
    carry(*made)
    held = made[1]._tpu_embedding._variables["users"]
    assert set(held) == {"parameters", "accumulators"}
    assert all((variable.numpy() == 1.0).all() for variable in held.values())
