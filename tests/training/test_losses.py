import numpy as np
import pytest
import tensorflow as tf

from penstock_training.fitting import softmax
from penstock_training.fitting.losses import Scored, in_batch_softmax, logistic, squared_error
from penstock_training.recipe import InBatchSoftmax, Logistic, SquaredError


def scored(queries: np.ndarray, candidates: np.ndarray, items: list[int]) -> Scored:
    return Scored(tf.constant(queries), tf.constant(candidates), tf.constant(items), None, None)


@pytest.mark.parametrize("log_q", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_in_batch_softmax_is_the_cross_entropy_by_hand(random: np.random.Generator, log_q: bool, mask: bool) -> None:
    items, probability = [4, 2, 4, 1], np.array([0.1, 0.2, 0.3, 0.1, 0.3])
    queries, table = random.normal(size=(2, 5, 3)).astype(np.float32)
    queries, candidates = queries[:4], table[items]
    losses = []
    for row in range(4):
        logits = {}
        for other in range(4):
            if mask and other != row and items[other] == items[row]:
                continue
            logits[other] = queries[row] @ candidates[other] - (np.log(probability[items[other]]) if log_q else 0)
        losses.append(np.log(sum(np.exp(value) for value in logits.values())) - logits[row])
    options = InBatchSoftmax(kind="in_batch_softmax", log_q=log_q, mask_accidental_hits=mask)
    found = in_batch_softmax(options, scored(queries, candidates, items), tf.constant(np.log(probability), tf.float32))
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_in_batch_softmax_equals_the_retrieval_task_of_tfrs(random: np.random.Generator) -> None:
    tfrs = pytest.importorskip("tensorflow_recommenders", reason="compares with TensorFlow Recommenders")
    items, probability = tf.constant([4, 2, 4, 1]), tf.constant([0.1, 0.2, 0.3, 0.1, 0.3])
    queries, table = random.normal(size=(2, 5, 3)).astype(np.float32)
    queries, candidates = queries[:4], table[items.numpy()]
    task = tfrs.tasks.Retrieval(remove_accidental_hits=True)
    theirs = task(
        queries,
        candidates,
        candidate_sampling_probability=tf.gather(probability, items),
        candidate_ids=items,
        compute_metrics=False,
    )
    options = InBatchSoftmax(kind="in_batch_softmax")
    ours = in_batch_softmax(options, scored(queries, candidates, [4, 2, 4, 1]), tf.math.log(probability))
    assert float(ours) * 4 == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize(("log_q", "mask"), [(False, False), (True, True)])
@pytest.mark.parametrize("scores_per_tile", [1, 100, 2000])
def test_in_batch_softmax_is_the_same_in_tiles_and_in_whole(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator, log_q: bool, mask: bool, scores_per_tile: int
) -> None:
    monkeypatch.setattr(softmax, "SCORES_PER_TILE", scores_per_tile)
    options = InBatchSoftmax(kind="in_batch_softmax", log_q=log_q, mask_accidental_hits=mask)
    # Large scores, since a sum of their powers would overflow.
    table, queries = tf.constant(random.normal(size=(20, 6)) * 20, tf.float32), random.normal(size=(50, 6))
    items, queries = random.integers(0, 20, 50), tf.constant(queries, tf.float32)
    log_probability = tf.constant(np.log(random.uniform(0.01, 1, 20)), tf.float32)

    def loss_and_gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([queries, table])
            batch = Scored(queries, tf.gather(table, items), tf.constant(items), None, None)
            loss = 3 * in_batch_softmax(options, batch, log_probability)
        return [loss, *map(tf.convert_to_tensor, tape.gradient(loss, [queries, table]))]

    in_tiles, whole = tf.function(loss_and_gradients)(), tf.function(loss_and_gradients, jit_compile=True)()
    for found, expected in zip(in_tiles, whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_masked_score_has_no_gradient(random: np.random.Generator) -> None:
    queries = tf.constant(random.normal(size=(2, 3)).astype(np.float32))
    candidates = tf.repeat(tf.constant(random.normal(size=(1, 3)).astype(np.float32)), 2, axis=0)
    with tf.GradientTape() as tape:
        tape.watch(candidates)
        batch = Scored(queries, candidates, tf.constant([3, 3]), None, None)
        loss = in_batch_softmax(InBatchSoftmax(kind="in_batch_softmax"), batch, tf.zeros(5))
    assert float(loss) == 0
    assert not tape.gradient(loss, candidates).numpy().any()


def test_squared_error_by_hand() -> None:
    batch = Scored(tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 1.0]]), tf.constant([0]), tf.constant([4.0]), None)
    assert float(squared_error(SquaredError(kind="squared_error"), batch, tf.zeros(1))) == 0.5


def test_logistic_by_hand() -> None:
    negatives = tf.constant([[[1.0], [-2.0]]])
    batch = Scored(tf.constant([[1.0]]), tf.constant([[3.0]]), tf.constant([0]), None, negatives)
    expected = np.log1p(np.exp(-3.0)) + np.log1p(np.exp(1.0)) + np.log1p(np.exp(-2.0))
    assert float(logistic(Logistic(kind="logistic", negatives=2), batch, tf.zeros(1))) == pytest.approx(expected)
