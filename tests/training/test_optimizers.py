import numpy as np
import pytest
import tensorflow as tf

from penstock_training.optimizers import ROW_OPTIMIZERS, RowOptimizer
from penstock_training.recipe import Adagrad, Adam, Sgd

ROWS, SIZE, STEPS = 20, 3, 4
OPTIONS = {
    "adagrad": Adagrad(kind="adagrad", learning_rate=0.3, initial_accumulator=0.01, epsilon=1e-6),
    "adam": Adam(kind="adam", learning_rate=0.2, beta_1=0.8, beta_2=0.9, epsilon=1e-3),
    "sgd": Sgd(kind="sgd", learning_rate=0.5),
}
BATCHES = [[3, 3, 5], [5, 7, 5, 5], [3], [19, 0, 3, 19]]


def reference(kind: str, table: np.ndarray, gradients: list[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Update row by row, from the formulas in the papers."""
    options, table = OPTIONS[kind], table.astype(np.float64)
    accumulator = np.full_like(table, getattr(options, "initial_accumulator", 0))
    first, second = np.zeros_like(table), np.zeros_like(table)
    for step, (ids, gradient) in enumerate(zip(BATCHES, gradients, strict=True), start=1):
        for row in set(ids):
            summed = sum(gradient[place].astype(np.float64) for place, other in enumerate(ids) if other == row)
            if kind == "sgd":
                table[row] -= options.learning_rate * summed
            elif kind == "adagrad":
                accumulator[row] += summed**2
                table[row] -= options.learning_rate * summed / np.sqrt(accumulator[row] + options.epsilon)
            else:
                first[row] = options.beta_1 * first[row] + (1 - options.beta_1) * summed
                second[row] = options.beta_2 * second[row] + (1 - options.beta_2) * summed**2
                scale = np.sqrt(second[row] / (1 - options.beta_2**step)) + options.epsilon
                table[row] -= options.learning_rate * first[row] / (1 - options.beta_1**step) / scale
    slots = {
        "sgd": {},
        "adagrad": {"accumulator": accumulator},
        "adam": {"first_moment": first, "second_moment": second},
    }
    return table, slots[kind]


def optimised(kind: str, start: np.ndarray, gradients: list[np.ndarray]) -> tuple[tf.Variable, RowOptimizer]:
    table = tf.Variable(start, name="table")
    optimizer = ROW_OPTIMIZERS[kind]([table], OPTIONS[kind])

    @tf.function(reduce_retracing=True)
    def apply(ids: tf.Tensor, gradient: tf.Tensor, step: tf.Tensor) -> None:
        optimizer.apply(table, tf.IndexedSlices(gradient, ids), step)

    for step, (ids, gradient) in enumerate(zip(BATCHES, gradients, strict=True)):
        apply(tf.constant(ids), tf.constant(gradient), tf.constant(step, tf.int64))
    return table, optimizer


@pytest.mark.parametrize("kind", ROW_OPTIMIZERS)
def test_updates_are_those_of_the_formula_and_touch_only_the_batch(kind: str, random: np.random.Generator) -> None:
    start = random.normal(size=(ROWS, SIZE)).astype(np.float32)
    gradients = [random.normal(size=(len(ids), SIZE)).astype(np.float32) for ids in BATCHES]
    table, optimizer = optimised(kind, start, gradients)
    expected, expected_slots = reference(kind, start, gradients)
    np.testing.assert_allclose(table, expected, rtol=2e-5, atol=1e-6)
    untouched = sorted(set(range(ROWS)) - {row for ids in BATCHES for row in ids})
    assert table.numpy()[untouched].tobytes() == start[untouched].tobytes()
    slots = optimizer.read_slots(table, tf.range(ROWS))
    assert set(slots) == set(expected_slots)
    for name, slot in slots.items():
        np.testing.assert_allclose(slot, expected_slots[name], rtol=2e-5, atol=1e-7)
        initial = np.float32(optimizer.initial_slot(name))
        assert (slot.numpy()[untouched] == initial).all()


def test_a_gradient_through_gathers_is_sparse_and_sums_duplicates() -> None:
    table = tf.Variable(tf.zeros([5, 1]), name="table")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(table, [1, 1, 4])) + tf.reduce_sum(2 * tf.gather(table, [4]))
    optimizer = ROW_OPTIMIZERS["sgd"]([table], Sgd(kind="sgd", learning_rate=1.0))
    optimizer.apply(table, tape.gradient(loss, table), tf.constant(0, tf.int64))
    assert table.numpy()[:, 0].tolist() == [0, -2, 0, 0, -3]


def test_a_dense_gradient_is_refused() -> None:
    table = tf.Variable(tf.zeros([5, 1]), name="table")
    optimizer = ROW_OPTIMIZERS["sgd"]([table], Sgd(kind="sgd"))
    with pytest.raises(TypeError, match="table:0: found a dense gradient"):
        optimizer.apply(table, tf.ones([5, 1]), tf.constant(0, tf.int64))
