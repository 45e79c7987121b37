"""Hold what carries tables to SparseCores and back against TensorFlow's own functions for their layout."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sparse_cores import FEATURES, chips, hardware
from tensorflow.core.tpu.kernels import sparse_core_layout_pb2
from tensorflow.python.tpu.tpu_embedding_v3_utils import remove_padding_from_sc, unshuffle_from_sc_to_cpu
from tensorflow_recommenders.layers.embedding import TPUEmbedding

from penstock_shared.errors import UserMistake
from penstock_training.data.dataset import open_dataset
from penstock_training.data.vocabulary import load_counts
from penstock_training.fitting.run import Run, build_run, check_run
from penstock_training.recipe import parse_recipe
from penstock_training.strategies import Placement
from penstock_training.strategies.tpu import with_cores
from penstock_training.tpu.configs import feature_configs
from penstock_training.tpu.draws import table_draws
from penstock_training.tpu.limits import table_limits
from penstock_training.tpu.shards import pull, push
from penstock_training.tpu.stand_in import LEAST_ROWS_ON_CORES
from penstock_training.tpu.step import CoreTrainer

# What TensorFlow says of itself when it plans a layout.
pytestmark = [
    pytest.mark.filterwarnings("ignore:MessageFactory class is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:The 'warn' function is deprecated:DeprecationWarning"),
]
# The items have more rows than this, the users fewer.
LEAST_ROWS = 100
RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 6, hidden: [8]}
loss: {kind: in_batch_softmax}
optimizer: {embeddings: %s, dense: {kind: sgd}}
training: {epochs: 1, batch_rows: 256, unknown_item_rate: 0.1}
evaluation: {k: [5], every_epochs: 0}
"""
ADAGRAD = "{kind: adagrad, initial_accumulator: 0.01}"
# rows, width, chips, cores of a chip; where the table lies in the shards: its first row there, and rotated by cores.
LAYOUTS = [(1001, 33, 4, 2, 0, 0), (128, 8, 1, 4, 0, 0), (5, 3, 4, 4, 0, 0), (301, 16, 2, 4, 24, 3)]


def layout_of(rows: int, width: int, chips: int, cores: int, offset: int, rotation: int) -> Any:
    held = 8 * -(-rows // (8 * chips * cores))
    return sparse_core_layout_pb2.SparseCoreTableLayout(
        table_name="items",
        stacked_table_name="items",
        num_sparse_cores=chips * cores,
        num_partitions=chips,
        total_rows_per_sparse_core_shard=offset + held,
        unsharded_shape=[rows, width],
        unsharded_padded_shape=[held * chips * cores, 8 * -(-width // 8)],
        sparse_core_shard_row_offset=offset,
        sparse_core_shard_rotation=rotation,
    )


def unshuffled(shards: list[Any], layout: Any) -> np.ndarray:
    """Return the table that TensorFlow finds in shards."""
    whole = unshuffle_from_sc_to_cpu(
        tf.concat([tf.convert_to_tensor(shard) for shard in shards], axis=0),
        layout.num_sparse_cores,
        layout.sparse_core_shard_row_offset,
        layout.unsharded_padded_shape[0] // layout.num_sparse_cores,
        layout.sparse_core_shard_rotation,
    )
    found: np.ndarray = remove_padding_from_sc(whole, tuple(layout.unsharded_shape)).numpy()
    return found


@pytest.mark.parametrize("where", LAYOUTS)
def test_rows_lie_where_tensorflow_has_them(where: tuple[int, ...], random: np.random.Generator) -> None:
    layout = layout_of(*where)
    rows_of_chip = layout.total_rows_per_sparse_core_shard * layout.num_sparse_cores // layout.num_partitions
    shape = [rows_of_chip, layout.unsharded_padded_shape[1]]
    before = [random.normal(size=shape).astype(np.float32) for _ in range(layout.num_partitions)]
    shards = [tf.Variable(shard) for shard in before]
    copy = tf.Variable(tf.zeros(layout.unsharded_shape))
    pull(shards, layout, copy)
    np.testing.assert_array_equal(copy, unshuffled(shards, layout))
    table = random.normal(size=layout.unsharded_shape).astype(np.float32)
    copy.assign(table)
    push(copy, layout, shards)
    np.testing.assert_array_equal(unshuffled(shards, layout), table)
    # And nothing else was changed.
    kept = sum(int((shard.numpy() == held).sum()) for shard, held in zip(shards, before, strict=True))
    assert kept == sum(held.size for held in before) - table.size


def run_of(events: Path, embeddings: str, placement: Placement | None = None) -> Run:
    recipe, dataset = parse_recipe(RECIPE % embeddings, "recipe"), open_dataset(str(events))
    return build_run(recipe, dataset, check_run(recipe, "recipe", dataset), placement)


def held_by(trainer: CoreTrainer) -> dict[str, tuple[list[Any], Any]]:
    """Return the shards and the layout of the items and of each of their slots."""
    cores = trainer.layer._tpu_embedding
    layout = cores.embedding_layouts["items"]
    return {name: (variable.values, layout) for name, variable in cores._variables["items"].items()}


def rows_of(trainer: Any, kind: str) -> np.ndarray:
    (table,) = (table for name, table in trainer.state.tables.items() if name.startswith(f"{kind}/items/"))
    found: np.ndarray = tf.gather(table, tf.range(table.shape[0])).numpy()
    return found


def test_tables_start_on_sparse_cores_as_they_do_elsewhere(events: Path) -> None:
    run = run_of(events, ADAGRAD, chips(2, 4, LEAST_ROWS))
    trainer, elsewhere = run.trainer, run_of(events, ADAGRAD).trainer
    assert isinstance(trainer, CoreTrainer)
    held = held_by(trainer)
    assert set(held) == {"parameters", "accumulators"}
    assert held["parameters"][1].num_sparse_cores == 8
    np.testing.assert_array_equal(unshuffled(*held["parameters"]), rows_of(elsewhere, "tables"))
    np.testing.assert_allclose(unshuffled(*held["accumulators"]), 0.01)
    # No root of what pads a shard is zero.
    assert all((shard.numpy() > 0).all() for shard in held["accumulators"][0])
    counts = [load_counts(run.dataset, name) for name in ("user_id", "item_id")]
    limits = table_limits(trainer.lookups, table_draws(run.recipe, run.inputs, *counts), 4, 2)["items"]
    cores = trainer.layer._tpu_embedding
    assert cores._table_to_max_ids_per_sparse_core == {"items": limits.ids}
    assert cores._table_to_max_unique_ids_per_sparse_core == {"items": limits.unique_ids}
    assert cores.max_ids_per_chip_per_sample == 8


@pytest.mark.parametrize(
    "embeddings", [ADAGRAD, "{kind: adam}", "{kind: ftrl}", "{kind: sgd}"], ids=["adagrad", "adam", "ftrl", "sgd"]
)
def test_checkpoints_are_those_of_any_strategy(
    embeddings: str, events: Path, tmp_path: Path, random: np.random.Generator
) -> None:
    trainer, elsewhere = run_of(events, embeddings, chips(2, 2, LEAST_ROWS)).trainer, run_of(events, embeddings).trainer
    assert isinstance(trainer, CoreTrainer)
    for shards, _ in held_by(trainer).values():
        for shard in shards:  # As a step leaves them.
            shard.assign(random.uniform(1.0, 2.0, shard.shape).astype(np.float32))
    trainer.state.write(str(tmp_path / "cores"))
    elsewhere.state.read(str(tmp_path / "cores"))
    trained = {name: unshuffled(*held) for name, held in held_by(trainer).items()}
    np.testing.assert_array_equal(rows_of(elsewhere, "tables"), trained.pop("parameters"))
    order = [name for name in ("accumulators", "linears", "momenta", "velocities") if name in trained]
    if order:
        found = rows_of(elsewhere, "rows")
        np.testing.assert_allclose(found, np.concatenate([trained[name] for name in order], axis=1), rtol=1e-6)
    restored = run_of(events, embeddings, chips(4, 1, LEAST_ROWS)).trainer
    assert isinstance(restored, CoreTrainer)
    restored.state.read(str(tmp_path / "cores"))
    for name, held in held_by(restored).items():
        theirs = unshuffled(*held_by(trainer)[name])
        np.testing.assert_allclose(unshuffled(*held), theirs, rtol=1e-6, err_msg=name)


def test_what_is_scored_is_what_sparse_cores_hold(events: Path) -> None:
    trainer = run_of(events, ADAGRAD, chips(2, 2, LEAST_ROWS)).trainer
    assert isinstance(trainer, CoreTrainer)
    before = trainer.scoring_model().candidates(tf.constant([3, 4])).numpy()
    for shard in held_by(trainer)["parameters"][0]:
        shard.assign(shard + 1.0)
    after = trainer.scoring_model().candidates(tf.constant([3, 4])).numpy()
    assert (before != after).any(axis=1).all()


def test_tensorflow_reads_the_layer_s_own_checkpoint_alike(events: Path, tmp_path: Path) -> None:
    trainer = run_of(events, "{kind: sgd}", chips(2, 4, LEAST_ROWS)).trainer
    assert isinstance(trainer, CoreTrainer)
    written = tf.train.Checkpoint(layer=trainer.layer).write(str(tmp_path / "layer"))
    on_host = TPUEmbedding(feature_configs(trainer.lookups, blank=True), tf.tpu.experimental.embedding.SGD(0.1))
    status = tf.train.Checkpoint(layer=on_host).read(written)
    on_host.build({lookup.name: tf.TensorShape([lookup.ids]) for lookup in trainer.lookups})
    status.expect_partial()
    (theirs,) = on_host.embedding_tables.values()
    np.testing.assert_array_equal(theirs, unshuffled(*held_by(trainer)["parameters"]))


def test_rows_that_the_cores_of_a_chip_cannot_share_are_refused(events: Path) -> None:
    with pytest.raises(UserMistake, match=r"--strategy tpu: a chip looks up 128 ids of items at once, which its 3 "):
        run_of(events, ADAGRAD, chips(2, 3, LEAST_ROWS))


def test_chips_are_used_for_what_they_have(capsys: pytest.CaptureFixture[str]) -> None:
    strategy = tf.distribute.get_strategy()
    first, second = (with_cores(strategy, hardware(kind, 2)) for kind in (FEATURES.V1, FEATURES.V2))
    assert (first.least_rows_on_cores, first.sparse_cores_per_chip) == (LEAST_ROWS_ON_CORES, 0)
    assert (second.least_rows_on_cores, second.sparse_cores_per_chip) == (LEAST_ROWS_ON_CORES, 2)
    assert with_cores(strategy, hardware(FEATURES.V2, 0)).sparse_cores_per_chip == 4
    assert capsys.readouterr().err == ""
    assert with_cores(strategy, hardware(FEATURES.UNSUPPORTED, 0)).least_rows_on_cores == sys.maxsize
    assert "no embedding cores here; all tables are copied to each chip" in capsys.readouterr().err
