import numpy as np
import pytest
import tensorflow as tf

from penstock_training.optimizers import ROW_OPTIMIZERS, RowOptimizer
from penstock_training.recipe import Adagrad, Adam, Ftrl, RowWiseAdagrad, Sgd

ROWS, SIZE = 20, 3
OPTIONS = {
    "adagrad": Adagrad(kind="adagrad", learning_rate=0.3, initial_accumulator=0.01, epsilon=1e-6),
    "adam": Adam(kind="adam", learning_rate=0.2, beta_1=0.8, beta_2=0.9, epsilon=1e-3),
    "ftrl": Ftrl(kind="ftrl", learning_rate=0.2, initial_accumulator=0.3, l1=0.4, l2=0.2, beta=0.7),
    "row_wise_adagrad": RowWiseAdagrad(
        kind="row_wise_adagrad", learning_rate=0.3, initial_accumulator=0.01, epsilon=1e-6
    ),
    "sgd": Sgd(kind="sgd", learning_rate=0.5),
}
BATCHES = [[3, 3, 5], [5, 7, 5, 5], [3], [19, 0, 3, 19]]
# The same formulas from Keras, which knows no row-wise Adagrad; its Adam decays rows that a batch did not touch, too.
KERAS = {
    "adagrad": lambda held: tf.keras.optimizers.Adagrad(held.learning_rate, held.initial_accumulator, held.epsilon),
    "adam": lambda held: tf.keras.optimizers.Adam(held.learning_rate, held.beta_1, held.beta_2, held.epsilon),
    "ftrl": lambda held: tf.keras.optimizers.Ftrl(
        held.learning_rate,
        held.learning_rate_power,
        held.initial_accumulator,
        held.l1,
        held.l2,
        beta=held.beta,
    ),
    "sgd": lambda held: tf.keras.optimizers.SGD(held.learning_rate),
}


def reference(kind: str, table: np.ndarray, gradients: list[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Update row by row, from the formulas in the papers."""
    options, table = OPTIONS[kind], table.astype(np.float64)
    accumulator = np.full_like(table, getattr(options, "initial_accumulator", 0))
    row_accumulator = accumulator[:, :1].copy()
    first, second, linear = np.zeros_like(table), np.zeros_like(table), np.zeros_like(table)
    for step, (ids, gradient) in enumerate(zip(BATCHES, gradients, strict=True), start=1):
        for row in set(ids):
            summed = sum(gradient[place].astype(np.float64) for place, other in enumerate(ids) if other == row)
            if kind == "sgd":
                table[row] -= options.learning_rate * summed
            elif kind == "adagrad":
                accumulator[row] += summed**2
                table[row] -= options.learning_rate * summed / np.sqrt(accumulator[row] + options.epsilon)
            elif kind == "row_wise_adagrad":
                row_accumulator[row] += (summed**2).mean()
                table[row] -= options.learning_rate * summed / np.sqrt(row_accumulator[row] + options.epsilon)
            elif kind == "adam":
                first[row] = options.beta_1 * first[row] + (1 - options.beta_1) * summed
                second[row] = options.beta_2 * second[row] + (1 - options.beta_2) * summed**2
                rate = options.learning_rate * np.sqrt(1 - options.beta_2**step) / (1 - options.beta_1**step)
                table[row] -= rate * first[row] / (np.sqrt(second[row]) + options.epsilon)
            else:
                new = accumulator[row] + summed**2
                linear[row] += summed - (np.sqrt(new) - np.sqrt(accumulator[row])) / options.learning_rate * table[row]
                accumulator[row] = new
                quadratic = (options.beta + np.sqrt(new)) / options.learning_rate + 2 * options.l2
                leader = (np.sign(linear[row]) * options.l1 - linear[row]) / quadratic
                table[row] = np.where(abs(linear[row]) <= options.l1, 0, leader)
    slots = {
        "sgd": {},
        "adagrad": {"accumulator": accumulator},
        "row_wise_adagrad": {"accumulator": row_accumulator},
        "adam": {"first_moment": first, "second_moment": second},
        "ftrl": {"accumulator": accumulator, "linear": linear},
    }
    return table, slots[kind]


def optimised(
    kind: str, start: np.ndarray, batches: list[list[int]], gradients: list[np.ndarray]
) -> tuple[tf.Variable, RowOptimizer]:
    table = tf.Variable(start, name="table")
    optimizer = ROW_OPTIMIZERS[kind]([table], OPTIONS[kind])

    @tf.function(reduce_retracing=True)
    def apply(ids: tf.Tensor, gradient: tf.Tensor, step: tf.Tensor) -> None:
        optimizer.apply(table, tf.IndexedSlices(gradient, ids), step)

    for step, (ids, gradient) in enumerate(zip(batches, gradients, strict=True)):
        apply(tf.constant(ids), tf.constant(gradient), tf.constant(step, tf.int64))
    return table, optimizer


def noise(random: np.random.Generator, batches: list[list[int]]) -> tuple[np.ndarray, list[np.ndarray]]:
    start = random.normal(size=(ROWS, SIZE)).astype(np.float32)
    return start, [random.normal(size=(len(ids), SIZE)).astype(np.float32) for ids in batches]


@pytest.mark.parametrize("kind", ROW_OPTIMIZERS)
def test_updates_are_those_of_the_formula_and_touch_only_the_batch(kind: str, random: np.random.Generator) -> None:
    start, gradients = noise(random, BATCHES)
    table, optimizer = optimised(kind, start, BATCHES, gradients)
    expected, expected_slots = reference(kind, start, gradients)
    np.testing.assert_allclose(table, expected, rtol=2e-5, atol=1e-6)
    untouched = sorted(set(range(ROWS)) - {row for ids in BATCHES for row in ids})
    assert table.numpy()[untouched].tobytes() == start[untouched].tobytes()
    slots = optimizer.read_slots(table, tf.range(ROWS))
    assert set(slots) == set(expected_slots)
    for name, slot in slots.items():
        np.testing.assert_allclose(slot, expected_slots[name], rtol=2e-5, atol=1e-6)
        initial = np.float32(optimizer.initial_slot(name))
        assert (slot.numpy()[untouched] == initial).all()


@pytest.mark.parametrize("kind", KERAS)
def test_rows_that_every_batch_touches_are_updated_as_by_keras(kind: str, random: np.random.Generator) -> None:
    touched = [2, 11, 17]
    start, gradients = noise(random, [touched] * 5)
    table, _ = optimised(kind, start, [touched] * 5, gradients)
    dense, optimizer = tf.Variable(start[touched]), KERAS[kind](OPTIONS[kind])
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), dense)])
    np.testing.assert_allclose(table.numpy()[touched], dense, rtol=2e-5, atol=1e-6)


def test_ftrl_makes_numbers_exactly_zero_within_its_l1_penalty() -> None:
    options = Ftrl(kind="ftrl", learning_rate=0.1, l1=1.0)
    table = tf.Variable([[0.0, 0.0]], name="table")
    optimizer = ROW_OPTIMIZERS["ftrl"]([table], options)
    optimizer.apply(table, tf.IndexedSlices(tf.constant([[0.9, -1.5]]), tf.constant([0])), tf.constant(0, tf.int64))
    # 1.5 is 0.5 past the penalty, and the root of the accumulator 1.5.
    assert table.numpy()[0, 0] == 0
    assert table.numpy()[0, 1] == pytest.approx(0.1 * 0.5 / 1.5)


def test_row_wise_adagrad_holds_one_number_a_row_however_wide() -> None:
    table = tf.Variable(tf.zeros([5, 64]), name="table")
    optimizer = ROW_OPTIMIZERS["row_wise_adagrad"]([table], OPTIONS["row_wise_adagrad"])
    assert [slots.shape.as_list() for slots in optimizer.slots.values()] == [[5, 1]]


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
