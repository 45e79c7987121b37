import numpy as np
import pytest
import tensorflow as tf

from penstock_training.models import MODELS, build_model
from penstock_training.models.base import Recommender
from penstock_training.recipe import parse_recipe

USERS, COUNTS = 30, np.array([0.0, 0, 2, 50, 20, 8, 1])
OPTIONS = {
    "matrix_factorisation": "{kind: matrix_factorisation, dimension: 4, l2: 0.5, bias_l2: 0.25}",
    "two_tower": "{kind: two_tower, dimension: 4, hidden: [6], temperature: 0.5, l2: 0.5}",
}


def built(kind: str, seed: int = 3) -> Recommender:
    text = f"task: implicit\nmodel: {OPTIONS[kind]}\nloss: {{kind: logistic}}\ntraining: {{epochs: 1, seed: {seed}}}"
    return build_model(parse_recipe(text, "r"), USERS, COUNTS, mean_label=2.5)


def state(model: Recommender) -> list[bytes]:
    return [variable.numpy().tobytes() for variable in (*model.tables, *model.dense_variables)]


def test_every_model_has_its_options_tested() -> None:
    assert set(OPTIONS) == set(MODELS)


@pytest.mark.parametrize("kind", MODELS)
def test_the_first_weights_are_a_function_of_the_seed(kind: str) -> None:
    assert state(built(kind)) == state(built(kind))
    different = [one != other for one, other in zip(state(built(kind)), state(built(kind, seed=4)), strict=True)]
    assert any(different)


@pytest.mark.parametrize("kind", MODELS)
def test_both_sides_are_equally_wide_and_tables_have_a_row_for_each_id(kind: str) -> None:
    model = built(kind)
    queries, candidates = model.queries(tf.range(USERS)), model.candidates(tf.range(len(COUNTS)))
    assert queries.shape == (USERS, candidates.shape[1])
    assert candidates.shape[0] == len(COUNTS)
    assert [table.shape[0] for table in model.tables] == [USERS, len(COUNTS)]


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_of_tables_are_sparse(kind: str) -> None:
    model = built(kind)
    with tf.GradientTape() as tape:
        queries, candidates = model.queries(tf.constant([3, 5])), model.candidates(tf.constant([3, 4]))
        loss = tf.reduce_sum(queries * candidates) + model.penalty(queries, candidates)
    for gradient in tape.gradient(loss, model.tables):
        assert isinstance(gradient, tf.IndexedSlices)
        assert gradient.values.shape[0] == 2


def test_matrix_factorisation_scores_by_its_formula() -> None:
    model = built("matrix_factorisation")
    model.users.assign(tf.random.stateless_normal(model.users.shape, [1, 2]))
    model.items.assign(tf.random.stateless_normal(model.items.shape, [3, 4]))
    user, item = model.users.numpy()[7], model.items.numpy()[4]
    queries, candidates = model.queries(tf.constant([7])), model.candidates(tf.constant([4]))
    expected = user[:4] @ item[:4] + user[4] + item[4] + 2.5
    assert float(tf.reduce_sum(queries * candidates)) == pytest.approx(expected, rel=1e-5)
    penalty = 0.5 * (0.5 * (user[:4] @ user[:4] + item[:4] @ item[:4]) + 0.25 * (user[4] ** 2 + item[4] ** 2))
    assert float(model.penalty(queries, candidates)) == pytest.approx(penalty, rel=1e-5)


def test_an_untrained_two_tower_model_ranks_by_popularity() -> None:
    model = built("two_tower")
    scores = tf.matmul(model.queries(tf.range(USERS)), model.candidates(tf.range(len(COUNTS))), transpose_b=True)
    order = np.argsort(-scores.numpy()[:, 3:], axis=1)
    assert (order == np.arange(4)).all()
