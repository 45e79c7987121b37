"""Try recipes on rows that were peeked at."""

import numpy as np
import pytest
import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_training.fitting.step import NotFinite
from penstock_training.peek.columns import Column
from penstock_training.peek.table import Rows
from penstock_training.peek.trial import check_roles, try_recipe
from penstock_training.recipe import Recipe, parse_recipe

ROWS = 600
ROLES = {"user": "user_id", "item": "item_id", "label": "rating"}
RATING = """
task: rating
model: {kind: matrix_factorisation, dimension: 4}
loss: {kind: squared_error}
training: {epochs: 1, batch_rows: 100}
"""
RETRIEVAL = """
task: retrieval
model: {kind: two_tower, dimension: 4}
loss: {kind: in_batch_softmax}
training: {epochs: 1, batch_rows: 5000}
"""
IMPLICIT = """
task: implicit
model: {kind: two_tower, dimension: 4, hidden: [8]}
loss: {kind: logistic, negatives: 2}
training: {epochs: 1, batch_rows: 64, unknown_user_rate: 0.1, unknown_item_rate: 0.1}
"""


def recipe(text: str) -> Recipe:
    return parse_recipe(text, "recipe.yaml")


def rows() -> Rows:
    """Return rows whose rating is the item's own, 1 to 5; one in ten users and one in fifty ratings is missing."""
    places = np.arange(ROWS)
    items = places * 7 % 20
    ratings = (items % 5 + 1.0).astype(np.float64)
    ratings[places % 50 == 1] = np.nan
    users = np.array([f"u{place % 30}" for place in places], object)
    nulls = {"user_id": places % 10 == 0, "item_id": np.zeros(ROWS, bool), "rating": np.zeros(ROWS, bool)}
    columns = [
        Column("user_id", "STRING", "string", nullable=True),
        Column("item_id", "INT64", "int64"),
        Column("rating", "FLOAT64", "float64"),
    ]
    values = {
        "user_id": tf.constant(users.tolist()),
        "item_id": tf.constant(items, tf.int64),
        "rating": tf.constant(ratings),
    }
    return Rows(columns, values, nulls, ROWS)


def test_a_rating_recipe_learns_from_the_rows_that_have_all_it_takes() -> None:
    trial = try_recipe(recipe(RATING), "recipe.yaml", rows(), ROLES)
    # 60 rows have no user, and 12 others no rating: 1, 51, 101, ... are no multiples of 10.
    assert (trial.rows, trial.left_out, trial.batch_rows) == (528, 72, 100)
    # Items 0 and 10 are in rows without a user alone.
    assert (trial.users, trial.items) == (27, 18)
    assert trial.last_loss < trial.first_loss
    assert trial == try_recipe(recipe(RATING), "recipe.yaml", rows(), ROLES)


@pytest.mark.parametrize(("text", "batch_rows"), [(RETRIEVAL, 540), (IMPLICIT, 64)])
def test_other_tasks_leave_the_label_alone(text: str, batch_rows: int) -> None:
    trial = try_recipe(recipe(text), "recipe.yaml", rows(), ROLES)
    assert (trial.rows, trial.left_out, trial.batch_rows) == (540, 60, batch_rows)
    assert np.isfinite([trial.first_loss, trial.last_loss]).all()


@pytest.mark.parametrize(
    ("text", "roles", "message"),
    [
        (RETRIEVAL, {"user": "user_id"}, "recipe.yaml: needs a column of role item"),
        (RATING, {"user": "user_id", "item": "item_id"}, "needs a column of role label"),
        (
            RETRIEVAL.replace("dimension: 4", "dimension: 4, item_features: [genre]"),
            ROLES,
            "features of entity tables, which a log does not hold",
        ),
    ],
)
def test_a_recipe_that_asks_for_more_is_refused_before_rows_are_read(
    text: str, roles: dict[str, str], message: str
) -> None:
    with pytest.raises(UserMistake, match=message):
        check_roles(recipe(text), "recipe.yaml", roles)


def test_types_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(UserMistake, match="takes rating as item, but it is of type FLOAT64; expected INT64 or STRING"):
        try_recipe(recipe(RETRIEVAL), "recipe.yaml", rows(), {"user": "user_id", "item": "rating"})
    with pytest.raises(UserMistake, match="takes user_id as label, but it is of type STRING; expected INT64 or FLOAT"):
        try_recipe(recipe(RATING), "recipe.yaml", rows(), {"user": "item_id", "item": "item_id", "label": "user_id"})


def test_a_loss_that_is_no_number_is_told() -> None:
    wild = RATING.replace("training:", "optimizer: {embeddings: {kind: sgd, learning_rate: 1e30}}\ntraining:")
    with pytest.raises(NotFinite, match="the loss is not a finite number"):
        try_recipe(recipe(wild), "recipe.yaml", rows(), ROLES)
