"""Hold the attributes of users and items to plain Python, from a real build's entity tables to a trained model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml

from penstock_shared import DataRefused, UserMistake
from penstock_training.data.dataset import Dataset, open_dataset
from penstock_training.data.entities import load_attributes
from penstock_training.data.feed import Feed
from penstock_training.data.inputs import match
from penstock_training.data.vocabulary import load_tokens
from penstock_training.fitting.run import build_run
from penstock_training.models.side_features import SideFeatures
from penstock_training.optimizers import table_key
from penstock_training.recipe import parse_recipe
from penstock_training.serving.export import export
from penstock_training.strategies import place
from penstock_training.tpu.ids import batch_of_chip
from penstock_training.tpu.stand_in import Lookups
from penstock_training.tpu.step import CoreTrainer
from penstock_training.tpu_check.refused import refusals
from penstock_training.tpu_check.trace import planned_trainer, trace_step
from penstock_training.train import fit, restore_run

# Beam deprecates things of its own when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:apache_beam")

GROUPS, USERS, ITEMS, ROWS = 5, 60, 600, 2400
SPEC = {
    "name": "shop",
    "columns": {
        "user": {"role": "user", "vocabulary": {}},
        "item": {"role": "item", "vocabulary": {}},
        "time": {"role": "time"},
    },
    "tables": {
        "item": {
            "key": "item",
            "columns": {
                "group": {"vocabulary": {}},
                "tags": {"transform": {"kind": "split"}, "vocabulary": {}},
                "price": {"transform": {"kind": "normalise"}},
                "stock": {"transform": {"kind": "bucketise", "boundaries": [10, 100]}},
                "photo": {"shape": [3], "null": {"default": 0}},
                "sizes": {},
            },
        }
    },
    "split": {"by": "leave_last", "n": 2},
    "output": {"rows_per_block": 64, "shard_bytes": "4KB"},
}
RECIPE = """
task: retrieval
model: {{kind: two_tower, dimension: 8, hidden: {hidden}, item_features: {features}, feature_dimension: 4}}
loss: {{kind: in_batch_softmax}}
optimizer: {{embeddings: {{kind: adagrad, learning_rate: 0.1}}, dense: {{kind: adam, learning_rate: 0.01}}}}
training: {{epochs: {epochs}, batch_rows: 128}}
evaluation: {{k: [120], every_epochs: 0}}
"""


def items_of() -> list[dict]:
    """Return items whose group is all that users care for; item 7 has no entity, and some lack values."""
    return [
        {
            "item": item,
            "group": f"g{item % GROUPS}",
            "tags": None if item % 6 == 0 else "|".join(f"t{tag}" for tag in range(item % 4)),
            "price": None if item % 4 == 0 else float(item),
            "stock": None if item % 3 == 0 else item,
            "photo": [item % 7 / 7, 1.0, -1.0],
            "sizes": [float(item)] * (item % 3),
        }
        for item in range(ITEMS)
        if item != 7
    ]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    from penstock_dataprep.build import build
    from penstock_dataprep.spec.spec import load_spec

    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(4)
    users = rng.integers(0, USERS, ROWS)
    items = rng.integers(0, ITEMS // GROUPS, ROWS) * GROUPS + users % GROUPS
    pq.write_table(pa.table({"user": users, "item": items, "time": np.arange(ROWS)}), folder / "log.parquet")
    photo = pa.list_(pa.float32())
    table = pa.Table.from_pylist(items_of())
    pq.write_table(table.set_column(5, "photo", table["photo"].cast(photo)), folder / "items.parquet")
    document = json.loads(json.dumps(SPEC))
    document["source"] = {"files": str(folder / "log.parquet"), "format": "parquet"}
    document["tables"]["item"]["source"] = {"files": str(folder / "items.parquet"), "format": "parquet"}
    path, _ = build(load_spec("spec.yaml", yaml.safe_dump(document, sort_keys=False)), str(folder), [], None)
    return open_dataset(path)


def tokens(dataset: Dataset, name: str) -> dict:
    held = load_tokens(dataset, name)
    first = held.vocabulary.size - held.vocabulary.tokens
    raw = [token.decode() if isinstance(token, bytes) else token for token in held.tokens.tolist()]
    return {token: first + place for place, token in enumerate(raw)}


def test_every_entity_has_the_attributes_of_its_row(shop: Dataset) -> None:
    attributes = load_attributes(shop, "item", ("group", "tags", "price", "stock", "photo"))
    groups, tags, items = (tokens(shop, name) for name in ("item.group", "item.tags", "item"))
    by_name = {held.name: held for held in attributes.ids}
    assert set(by_name) == {"group", "tags", "stock"}
    assert by_name["stock"].size == 4  # three buckets, and one for a missing value
    numbers = attributes.numbers.numpy()
    listed, mask = by_name["tags"].lists(tf.range(shop.manifest.vocabularies["item"].size))
    known = [row for row in items_of() if row["item"] in items]
    prices = np.array([row["price"] for row in items_of() if row["price"] is not None])
    for row in known:
        place = items[row["item"]]
        expected_tags = [tags[tag] for tag in (row["tags"] or "").split("|") if tag]
        assert listed.numpy()[place][mask.numpy()[place]].tolist() == expected_tags
        assert by_name["group"].ids.numpy()[place] == groups[row["group"]]
        stock = 0 if row["stock"] is None else 1 + (row["stock"] >= 10) + (row["stock"] >= 100)
        assert by_name["stock"].ids.numpy()[place] == stock
        price = 0.0 if row["price"] is None else (row["price"] - prices.mean()) / prices.std()
        expected = [price, float(row["price"] is None), *row["photo"]]
        np.testing.assert_allclose(numbers[place], expected, rtol=1e-5, atol=1e-6)
    nobody = items[7]
    assert not mask.numpy()[nobody].any()
    assert by_name["group"].ids.numpy()[nobody] == 1
    np.testing.assert_array_equal(numbers[nobody], [0, 1, 0, 0, 0])


def test_lists_are_averaged_and_gradients_stay_sparse(shop: Dataset) -> None:
    attributes = load_attributes(shop, "item", ("tags", "group", "photo"))
    side = SideFeatures("item", attributes, 4, 0.5, seed=1)
    places = tf.constant([0, 3, 5, 9, 20])
    with tf.GradientTape() as tape:
        vectors = side.vectors(places)
        loss = tf.reduce_sum(vectors**2)
    assert vectors.shape == (5, side.width) == (5, 4 + 4 + 3)
    listed, mask = attributes.ids[0].lists(places)
    for row, (ids, held) in enumerate(zip(listed.numpy(), mask.numpy(), strict=True)):
        embedded = side.tables[0].numpy()[ids[held]]
        np.testing.assert_allclose(vectors[row, :4], embedded.mean(axis=0) if len(embedded) else np.zeros(4), rtol=1e-5)
    for gradient in tape.gradient(loss, side.tables):
        assert isinstance(gradient, tf.IndexedSlices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("item_features: [grup]", "model.item_features: no feature 'grup' in entity table item; did you mean 'group'"),
        ("item_features: [tags, tags]", "model.item_features: 'tags' is named 2 times"),
        ("item_features: [sizes]", "model.item_features: 'sizes' is a list of numbers"),
        (
            "user_features: [age]",
            "model.user_features: the dataset has no entity table of vocabulary user",
        ),
    ],
)
def test_features_that_are_not_there_are_refused(changes: str, message: str, shop: Dataset) -> None:
    text = RECIPE.format(hidden=[], features=[], epochs=1).replace("item_features: []", changes)
    with pytest.raises(UserMistake, match=message):
        match(parse_recipe(text, "r.yaml"), "r.yaml", shop)


@pytest.mark.parametrize("hidden", [[], [16]], ids=["linear", "hidden"])
def test_towers_learn_from_features_and_are_exported_with_them(hidden: list, shop: Dataset, tmp_path: Path) -> None:
    found = {}
    for name, features in (("with", "[group, tags, price, photo]"), ("without", "[]")):
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(RECIPE.format(hidden=hidden, features=features, epochs=3))
        fit(str(recipe), shop.manifest_path, str(tmp_path / name))
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        found[name] = metrics["results"][0]["metrics"]["recall@120"]["value"]
    # An item has 4 rows, too few to tell its group of 120 items by, which is all there is to know.
    assert found["with"] > 0.8
    assert found["with"] > found["without"] + 0.03
    export(str(tmp_path / "with"), str(tmp_path / "model"))
    run, _ = restore_run(str(tmp_path / "with"))
    served = tf.saved_model.load(str(tmp_path / "model")).signatures["score"]
    users, items = tokens(shop, "user"), tokens(shop, "item")
    pairs = [(3, 8), (4, 7), (10, max(items))]
    raw = {"user": tf.constant([u for u, _ in pairs], tf.int64), "item": tf.constant([i for _, i in pairs], tf.int64)}
    expected = run.scorer().scores(np.array([users[u] for u, _ in pairs]), np.array([items[i] for _, i in pairs]))
    np.testing.assert_allclose(served(**raw)["scores"], expected, rtol=1e-4)


def test_a_tpu_refuses_nothing_of_towers_with_features(shop: Dataset) -> None:
    text = RECIPE.format(hidden=[16], features="[group, tags, price, stock, photo]", epochs=1)
    recipe, lookups = parse_recipe(text, "recipe.yaml"), Lookups()
    inputs = match(recipe, "recipe.yaml", shop)
    # The items, whose ids also lead to their attributes, are a stand-in; the embeddings of attributes are not.
    trainer = planned_trainer(recipe, shop, inputs, 100, lookups)
    batch = batch_of_chip(Feed(shop, "train", 128, inputs.names), recipe, 128)
    assert refusals(trace_step(trainer, batch, lookups, 8).graph) == []
    assert [spec.shape for spec in lookups.specs] == [(16, 9)]


def test_embedding_cores_give_towers_with_features_the_same_numbers(shop: Dataset) -> None:
    text = RECIPE.format(hidden=[], features="[group, tags]", epochs=1)
    text = text.replace("{kind: adagrad", "{kind: adagrad, initial_accumulator: 0.01")
    recipe = parse_recipe(text.replace("feature_dimension: 4", "feature_dimension: 2"), "recipe.yaml")
    found = []
    # All tables have more rows, and layers fewer: the host gathers the ids of attributes, lists too.
    for least_rows in (None, 5):
        placement = replace(place("mirrored", 2, 128), least_rows_on_cores=least_rows)
        run = build_run(recipe, shop, match(recipe, "recipe.yaml", shop), placement)
        batches = run.trainer.placed(run.feed.training_batches(1, 0, 0, 4))
        tables = {name: held for name, held in run.trainer.state.tables.items() if name.startswith("tables/")}
        loss = run.trainer.run(batches, 3).mean_loss
        found.append((loss, {name: held.numpy() for name, held in tables.items()}))
    (expected_loss, expected), (loss, tables) = found
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    print({n: t.shape for n, t in tables.items()})
    assert isinstance(run.trainer, CoreTrainer)
    assert {table_key(lookup.table) for lookup in run.trainer.lookups} == set(run.trainer.tables)
    for name, table in tables.items():
        np.testing.assert_allclose(table, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_run_goes_on_with_the_embeddings_of_features(shop: Dataset, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(hidden=[], features="[group, tags]", epochs=1))
    fit(str(recipe), shop.manifest_path, str(tmp_path / "first"))
    first, _ = restore_run(str(tmp_path / "first"))
    fit(str(recipe), shop.manifest_path, str(tmp_path / "second"), str(tmp_path / "first"))
    second, _ = restore_run(str(tmp_path / "second"))
    assert [table.name for table in first.trainer.model.tables][2:] == ["item.group:0", "item.tags:0"]
    for before, after in zip(first.trainer.model.tables, second.trainer.model.tables, strict=True):
        # A run that started anew would end where the first did, for its seed is the same.
        assert 0 < np.abs(after.numpy() - before.numpy()).max() < 1


def test_a_damaged_table_is_named(shop: Dataset) -> None:
    shard = Path(shop.path(shop.manifest.tables["item"].shards[0]))
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    with pytest.raises(
        DataRefused, match=r"00000-of-.*\.tfrecord: corrupt after 0 rows: corrupted record at \d+; copy"
    ):
        load_attributes(shop, "item", ("group",))
    content[40] ^= 1
    shard.write_bytes(content)
