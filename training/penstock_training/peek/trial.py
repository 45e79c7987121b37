"""Try a recipe on a table's first rows: check that it fits them, and take a few steps of training."""

import hashlib
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_shared.features import Feature, Statistics
from penstock_shared.tokens import first_token_id
from penstock_shared.vocabularies import Vocabulary
from penstock_training.data.inputs import Inputs
from penstock_training.fitting.run import make_deterministic
from penstock_training.fitting.step import NotFinite, Trainer
from penstock_training.models import build_model
from penstock_training.peek.columns import Column
from penstock_training.peek.table import Rows
from penstock_training.recipe import Recipe, TwoTower

STEPS = 20
ID_TYPES = ("INT64", "STRING")
LABEL_TYPES = ("INT64", "FLOAT64", "BOOL")


@dataclass(frozen=True)
class Trial:
    """Say how the steps went: mean loss of the first and the last half of them, rows that had a null left out."""

    steps: int
    batch_rows: int
    rows: int
    left_out: int
    users: int
    items: int
    first_loss: float
    last_loss: float


def check_roles(recipe: Recipe, recipe_path: str, roles: dict[str, str]) -> None:
    """Refuse columns without the roles that the recipe takes, or a recipe that takes more than a log has.

    `roles` are columns by role.
    """
    needed = ("user", "item", "label") if recipe.task == "rating" else ("user", "item")
    for role in needed:
        if role not in roles:
            raise UserMistake(f"{recipe_path}: needs a column of role {role}; say which, as in --columns name={role}")
    model = recipe.model
    if isinstance(model, TwoTower) and (model.user_features or model.item_features):
        raise UserMistake(
            f"{recipe_path}: model takes features of entity tables, which a log does not hold; leave user_features and "
            "item_features out to peek, or build a dataset with penstock-data"
        )


def try_recipe(recipe: Recipe, recipe_path: str, rows: Rows, roles: dict[str, str]) -> Trial:
    """Take a few steps on the rows, ids numbered by their frequency among them.

    Raises UserMistake where a column is of a type that the recipe cannot take, and NotFinite as fit does.
    """
    check_roles(recipe, recipe_path, roles)
    taken = _taken(recipe, recipe_path, rows, roles)
    values, kept = _values(rows, taken)
    count = int(kept.sum())
    if not count:
        raise UserMistake(f"{recipe_path}: no row has all of {', '.join(column.name for column in taken.values())}")

    make_deterministic(recipe.training.seed)
    features = {role: _feature(role, column, count) for role, column in taken.items()}
    users, _, user_vocabulary = _ids(taken["user"], values["user"][kept])
    items, item_counts, item_vocabulary = _ids(taken["item"], values["item"][kept])
    inputs = Inputs(features["user"], features["item"], features.get("label"), user_vocabulary, item_vocabulary)
    batch = {inputs.user.name: users, inputs.item.name: items}
    mean_label = 0.0
    if inputs.label is not None:
        batch[inputs.label.name] = values["label"][kept]
        mean_label = float(batch[inputs.label.name].mean())
    trainer = Trainer(recipe, inputs, build_model(recipe, user_vocabulary.size, item_counts, mean_label), item_counts)
    batch_rows = min(recipe.training.batch_rows, count)
    batches = iter(tf.data.Dataset.from_tensor_slices(batch).batch(batch_rows, drop_remainder=True).repeat())
    losses: list[float] = []
    while len(losses) < 2:
        done = trainer.run(batches, STEPS // 2)
        if done.first_bad_step is not None:
            raise NotFinite(
                f"{recipe_path}: step {done.first_bad_step}: the loss is not a finite number; lower "
                "optimizer.*.learning_rate"
            )
        losses.append(done.mean_loss)
    return Trial(STEPS, batch_rows, count, rows.count - count, user_vocabulary.tokens, item_vocabulary.tokens, *losses)


def _taken(recipe: Recipe, recipe_path: str, rows: Rows, roles: dict[str, str]) -> dict[str, Column]:
    """Return the column of each role that the recipe takes; raises UserMistake for one of another type."""
    columns = {column.name: column for column in rows.columns}
    taken = {role: columns[name] for role, name in roles.items() if role != "label" or recipe.task == "rating"}
    for role, column in taken.items():
        expected = LABEL_TYPES if role == "label" else ID_TYPES
        if column.type_name not in expected:
            raise UserMistake(
                f"{recipe_path}: takes {column.name} as {role}, but it is of type {column.type_name}; expected "
                f"{' or '.join(expected)}"
            )
    return taken


def _values(rows: Rows, taken: dict[str, Column]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the values by role, labels as float32, and bool [rows], true where none of them is missing."""
    values = {role: rows.values[column.name].numpy() for role, column in taken.items()}
    kept = ~np.logical_or.reduce([rows.nulls[column.name] for column in taken.values()])
    if "label" in values:
        values["label"] = values["label"].astype(np.float32)
        kept &= np.isfinite(values["label"])
    return values, kept


def _ids(column: Column, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, Vocabulary]:
    """Return int32 ids, in the order a vocabulary of these values has, the counts by id, and that vocabulary."""
    tokens, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(tokens), np.int32)
    rank[order] = np.arange(len(tokens), dtype=np.int32)
    oov_buckets = 1
    first_id = first_token_id(oov_buckets)
    counts_by_id = np.concatenate([np.zeros(first_id), counts[order]])
    vocabulary = Vocabulary(
        token_dtype="string" if column.dtype == "string" else "int64",
        encoding="table",
        size=len(counts_by_id),
        tokens=len(tokens),
        oov_buckets=oov_buckets,
        min_count=1,
        max_size=None,
        counted_over="all",
        counted_values=len(values),
        coverage=1.0,
        shared_by=(column.name,),
        columns=(),
        shards=(),
        digest=hashlib.sha256(repr(tokens[order].tolist()).encode()).hexdigest(),
    )
    return first_id + rank[inverse.reshape(-1)], counts_by_id, vocabulary


def _feature(role: str, column: Column, rows: int) -> Feature:
    statistics = Statistics(rows=rows, nulls=0, values=rows)
    if role == "label":
        return Feature(name=column.name, role="label", dtype="float32", storage="f32", statistics=statistics)
    return Feature(
        name=column.name,
        role="user" if role == "user" else "item",
        dtype="int32",
        storage="u32",
        vocabulary=column.name,
        statistics=statistics,
    )
