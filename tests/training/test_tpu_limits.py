"""Ask whether batches ever want more of a SparseCore than the limits of a table say."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from penstock_training.data.dataset import open_dataset
from penstock_training.data.vocabulary import load_counts
from penstock_training.fitting.run import build_run, check_run
from penstock_training.recipe import parse_recipe
from penstock_training.strategies import Placement
from penstock_training.tpu.configs import name_lookups
from penstock_training.tpu.draws import Draw, table_draws
from penstock_training.tpu.limits import limits, sparse_core_config, table_limits, uneven
from penstock_training.tpu.stand_in import CoreTable, Lookups
from penstock_training.tpu.step import CoreTrainer

RECIPE = """
task: implicit
model: {kind: matrix_factorisation, dimension: 6}
loss: {kind: logistic, negatives: 1}
optimizer: {embeddings: {kind: sgd}}
training: {epochs: 1, batch_rows: 1200, unknown_user_rate: 0.9, unknown_item_rate: 0.9}
evaluation: {k: [5], every_epochs: 0}
"""


def core_table(name: str, rows: int) -> CoreTable:
    return CoreTable(name, tf.TensorShape([rows, 4]), tf.float32, Lookups(), lambda: tf.zeros([rows, 4]))


def asked(ids: np.ndarray, cores: int) -> tuple[int, int]:
    """Return the most ids, and different ids, of one core."""
    return int(np.bincount(ids % cores).max()), int(np.bincount(np.unique(ids) % cores).max())


@pytest.mark.parametrize(
    "parts",
    [
        [(1.0, 1 / np.arange(1, 5001))],
        [(1.0, np.ones(5000))],
        [(0.25, 1 / np.arange(1, 5001)), (0.75, np.ones(5000))],
    ],
    ids=["zipf", "even", "both"],
)
def test_no_core_is_asked_for_more_than_the_limits(
    parts: list[tuple[float, np.ndarray]], random: np.random.Generator
) -> None:
    ids, cores = 2048, 16
    draws = [Draw(part, counts / counts.sum()) for part, counts in parts]
    most, most_unique = limits(draws, ids, cores)
    found = []
    for _ in range(200):
        drawn = [random.choice(5000, round(ids * draw.part), p=draw.shares) for draw in draws]
        found.append(asked(np.concatenate(drawn), cores))
    most_asked, most_unique_asked = np.max(found, axis=0)
    assert most_asked <= most < 2.5 * most_asked
    assert most_unique_asked <= most_unique < 2.5 * most_unique_asked


def test_draws_are_what_a_recipe_draws(events: Path) -> None:
    recipe, dataset = parse_recipe(RECIPE, "recipe"), open_dataset(str(events))
    inputs = check_run(recipe, "recipe", dataset)
    user_counts, item_counts = (load_counts(dataset, name) for name in ("user_id", "item_id"))
    draws = table_draws(recipe, inputs, user_counts, item_counts)
    trainer = build_run(recipe, dataset, inputs, Placement(tf.distribute.get_strategy(), least_rows_on_cores=1)).trainer
    assert isinstance(trainer, CoreTrainer)
    found = table_limits(trainer.lookups, draws, cores_per_chip=2, chips=1)
    feed = build_run(recipe, dataset, inputs).feed
    seen: dict[str, list[int]] = {"users": [0, 0], "items": [0, 0]}
    for epoch in range(3):
        for _, ids in itertools.islice(trainer.placed(feed.training_batches(1, epoch, 0, 8)), 2):
            for table, most in seen.items():
                # TensorFlow gives the first half of each lookup to the first of two cores.
                lookups = [held.numpy().reshape(2, -1) for name, held in ids.items() if name.startswith(table)]
                for of_core in np.concatenate(lookups, axis=1):
                    seen[table] = most = list(np.maximum(most, asked(of_core, 2)))
    for table, (most, unique) in seen.items():
        assert most <= found[table].ids
        assert unique <= found[table].unique_ids
    # Nine of ten items are unknown, of which there is one id: the log alone does not tell.
    of_log = [Draw(1.0, item_counts / item_counts.sum())]
    assert seen["items"][0] > limits(of_log, 600, 2)[0]
    for held in draws.values():
        assert sum(draw.part * draw.shares.sum() for draw in held) == pytest.approx(1.0)


def test_limits_are_those_of_all_lookups_of_a_table() -> None:
    users, genres = core_table("users", 1600), core_table("item.genres", 20)
    draws = {"users": [Draw(1.0, np.full(1600, 1 / 1600))]}
    lookups = name_lookups([(users, 768), (users, 256), (genres, 4096)])
    found = table_limits(lookups, draws, cores_per_chip=4, chips=4)
    assert (found["item.genres"].ids, found["item.genres"].unique_ids) == (1024, 2)  # nothing is known of its ids
    assert (found["users"].ids, found["users"].unique_ids) == limits(draws["users"], 256, 16)
    # Eight places of 12 bytes for each id; the ends of 16 cores' ids, of each of 4 cores, 64 times.
    assert found["users"].list_bytes == 1024 * 8 * 12 + 64 * 4 * 16 * 4
    told = sparse_core_config(found)
    assert told.max_ids_per_table == {"users": found["users"].ids, "item.genres": 1024}
    assert told.max_unique_ids_per_table["item.genres"] == 2
    assert (told.max_ids_per_chip_per_sample, told.allow_id_dropping) == (8, False)


def test_ids_that_the_cores_of_a_chip_cannot_share_are_named() -> None:
    users = core_table("users", 1600)
    assert uneven(name_lookups([(users, 64), (users, 8)]), 4) is None
    said = uneven(name_lookups([(users, 64), (users, 30)]), 4)
    assert said is not None
    assert "looks up 30 ids of users at once, which its 4 SparseCores cannot share" in said
