"""Train one recipe by the sparse kernels of a processor and by TPU embeddings, whose processor path runs anywhere."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from penstock_shared import UserMistake
from penstock_training.cli import main
from penstock_training.data.dataset import open_dataset
from penstock_training.fitting.run import build_run, check_run
from penstock_training.optimizers import ROW_OPTIMIZERS, table_key
from penstock_training.recipe import Adagrad, Adam, Ftrl, Recipe, Sgd, load_recipe
from penstock_training.strategies import place
from penstock_training.tpu.configs import feature_configs, input_options, name_lookups
from penstock_training.tpu.optimizers import HOST_OPTIMIZERS, TPU_OPTIMIZERS, check_tpu_optimizer
from penstock_training.tpu.stand_in import CoreTable, Lookups
from penstock_training.tpu.step import CoreTrainer

# The items have more rows than this, the users, and the layers, fewer.
STEPS, BATCH_ROWS, LEAST_ROWS = 4, 256, 100
TOWERS = """
task: retrieval
model: {kind: two_tower, dimension: 6, hidden: [8]}
loss: {kind: in_batch_softmax}
"""
FACTORS = """
task: implicit
model: {kind: matrix_factorisation, dimension: 6}
loss: {kind: logistic, negatives: 3}
"""
REST = """
optimizer: {embeddings: %s, dense: {kind: sgd}}
training: {epochs: 1, batch_rows: 256, unknown_item_rate: 0.1}
evaluation: {k: [5], every_epochs: 0}
"""
# On a processor, TPU embeddings add to Adagrad's root an epsilon of 1e-7: a millionth of the root of 0.01.
RECIPES = {
    "adagrad": (TOWERS, "{kind: adagrad, initial_accumulator: 0.01}"),
    "ftrl": (TOWERS, "{kind: ftrl, initial_accumulator: 0.01, l1: 1.0e-4, l2: 1.0e-3, beta: 0.1}"),
    "sgd": (FACTORS, "{kind: sgd}"),
}
OPTIONS = {
    "adagrad": Adagrad(kind="adagrad", learning_rate=0.3, initial_accumulator=0.01, epsilon=1e-3),
    "adam": Adam(kind="adam", learning_rate=0.2, beta_1=0.8, beta_2=0.9, epsilon=1e-2),
    "ftrl": Ftrl(kind="ftrl", learning_rate=0.2, initial_accumulator=0.3, l1=0.4, l2=0.2, beta=0.7),
    "sgd": Sgd(kind="sgd", learning_rate=0.5),
}


def recipe_in(folder: Path, text: str, embeddings: str) -> Recipe:
    (folder / "recipe.yaml").write_text(text + REST % embeddings)
    return load_recipe(str(folder / "recipe.yaml"))


# Where a TPU has no embedding cores that fit can use, no table is large.
@pytest.mark.parametrize(
    ("kind", "replicas", "large"),
    [
        ("adagrad", 1, {"items"}),
        ("ftrl", 1, {"items"}),
        ("sgd", 1, {"items"}),
        ("adagrad", 2, {"items"}),
        ("sgd", 2, {"items"}),
        ("adagrad", 2, set()),
    ],
)
def test_one_recipe_gives_the_same_numbers_both_ways(
    kind: str, replicas: int, large: set[str], events: Path, tmp_path: Path
) -> None:
    recipe, dataset = recipe_in(tmp_path, *RECIPES[kind]), open_dataset(str(events))
    inputs = check_run(recipe, "recipe.yaml", dataset)
    run = build_run(recipe, dataset, inputs)
    placement = place("mirrored" if replicas > 1 else "one", replicas, BATCH_ROWS)
    ours = run.trainer
    placement = replace(placement, least_rows_on_cores=LEAST_ROWS if large else sys.maxsize)
    theirs = build_run(recipe, dataset, inputs, placement).trainer
    assert isinstance(theirs, CoreTrainer)
    assert {table_key(lookup.table) for lookup in theirs.lookups} == large
    assert list(theirs.state.tables) == list(ours.state.tables)
    for name, table in ours.state.tables.items():
        if name.startswith("tables/"):
            np.testing.assert_array_equal(read(theirs.state.tables[name]), read(table))  # They start from equal bits.
    batches = run.feed.training_batches(1, 0, 0, 4)
    expected = ours.run(ours.placed(batches), STEPS)
    assert theirs.run(theirs.placed(batches), STEPS).mean_loss == pytest.approx(expected.mean_loss, rel=1e-5)
    for name, table in ours.state.tables.items():
        np.testing.assert_allclose(read(theirs.state.tables[name]), read(table), rtol=1e-5, atol=1e-5, err_msg=name)


def read(table: Any) -> np.ndarray:
    """Return all rows of a table or of its slots."""
    found: np.ndarray = tf.gather(table, tf.range(table.shape[0])).numpy()
    return found


def tpu_update(
    kind: str, told: Any, rate: float, rows: np.ndarray, slots: list[np.ndarray], gradient: np.ndarray
) -> Any:
    """Update rows as optimization_parameters.proto documents it for what a TPU was told."""
    if kind == "sgd":
        return rows - rate * gradient, []
    if kind == "adagrad":
        accumulator = slots[0] + gradient**2
        return rows - rate * gradient / np.sqrt(accumulator), [accumulator]
    if kind == "adam":
        held = told.adam
        assert not held.use_non_lazy_adam
        assert not held.use_sum_inside_sqrt
        first = held.beta1 * slots[0] + (1 - held.beta1) * gradient
        second = held.beta2 * slots[1] + (1 - held.beta2) * gradient**2
        return rows - rate * first / (np.sqrt(second) + held.epsilon), [first, second]
    held = told.ftrl
    assert not held.multiply_linear_by_lr
    accumulator = slots[0] + gradient**2
    sigma = (accumulator**-held.lr_power - slots[0] ** -held.lr_power) / rate
    linear = slots[1] + gradient - sigma * rows
    quadratic = accumulator**-held.lr_power / rate + 2 * (held.l2 + held.beta / (2 * rate))
    return (np.clip(linear, -held.l1, held.l1) - linear) / quadratic, [accumulator, linear]


@pytest.mark.parametrize("kind", TPU_OPTIMIZERS)
def test_a_tpu_is_told_what_makes_the_same_updates(kind: str, random: np.random.Generator) -> None:
    from tensorflow.core.protobuf.tpu import optimization_parameters_pb2

    count = tf.Variable(0, dtype=tf.int64)
    theirs = TPU_OPTIMIZERS[kind](OPTIONS[kind], lambda: count)
    told = optimization_parameters_pb2.OptimizationParameters()
    theirs._set_optimization_parameters(told)
    start = random.normal(size=(3, 2)).astype(np.float32)
    table = tf.Variable(start, name="table")
    ours = ROW_OPTIMIZERS[kind]([table], OPTIONS[kind])
    rows, slots = start.astype(np.float64), [first([3, 2]).numpy() for first in theirs._slot_initializers()]
    for step in range(5):
        count.assign(step)
        gradient = random.normal(size=(3, 2)).astype(np.float32)
        ours.apply(table, tf.IndexedSlices(tf.constant(gradient), tf.range(3)), count)
        rate = theirs.learning_rate
        rows, slots = tpu_update(kind, told, float(rate() if callable(rate) else rate), rows, slots, gradient)
    np.testing.assert_allclose(table, rows, rtol=1e-5, atol=1e-6)


def test_an_optimizer_that_no_tpu_has_is_refused(tmp_path: Path) -> None:
    check_tpu_optimizer(recipe_in(tmp_path, TOWERS, "{kind: adam}"), "good.yaml")
    with pytest.raises(
        UserMistake,
        match=r"bad.yaml: optimizer.embeddings.kind is 'row_wise_adagrad', which TPUs do not have; take adagrad, ",
    ):
        check_tpu_optimizer(recipe_in(tmp_path, TOWERS, "{kind: row_wise_adagrad}"), "bad.yaml")
    assert set(TPU_OPTIMIZERS) == set(HOST_OPTIMIZERS) == set(ROW_OPTIMIZERS) - {"row_wise_adagrad"}


def test_fit_refuses_it_before_it_looks_for_a_tpu(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_in(tmp_path, TOWERS, "{kind: row_wise_adagrad}")
    arguments = ["fit", str(tmp_path / "recipe.yaml"), "--dataset", str(events), "--workdir", str(tmp_path / "run")]
    assert main([*arguments, "--strategy", "tpu"]) == 2
    assert "optimizer.embeddings.kind is 'row_wise_adagrad', which TPUs do not have" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def core_table(name: str, rows: int, width: int = 4) -> CoreTable:
    return CoreTable(name, tf.TensorShape([rows, width]), tf.float32, Lookups(), lambda: tf.zeros([rows, width]))


def test_lookups_of_one_table_share_it_and_ids_stay_on_the_host() -> None:
    users, items = core_table("users", 30), core_table("items", 20, 5)
    configs = feature_configs(name_lookups([(users, 8), (items, 8), (items, 24)]))
    assert {name: config.output_shape.as_list() for name, config in configs.items()} == {
        "users.0": [8],
        "items.1": [8],
        "items.2": [24],
    }
    assert configs["items.1"].table is configs["items.2"].table
    assert (configs["users.0"].table.vocabulary_size, configs["items.1"].table.dim) == (30, 5)
    assert not input_options().experimental_fetch_to_device
