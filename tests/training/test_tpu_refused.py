from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from penstock_training.tpu_check.refused import Refusal, refusals
from penstock_training.tpu_check.tiles import products

HERE = Path(__file__)
MATRIX = tf.TensorSpec([16, 24], tf.float32)
IDS = tf.TensorSpec([16], tf.int32)
STRINGS, SHAPE, PYTHON = "works on strings", "makes a shape that depends on values", "calls Python"


def refused(step: Callable[..., object]) -> list[Refusal]:
    return refusals(tf.function(step).get_concrete_function(MATRIX, IDS).graph)


def bad_step(matrix: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
    weights = tf.ones([24, 8])
    with tf.GradientTape() as tape:
        tape.watch(weights)
        scores = tf.matmul(matrix, weights)
        hashed = tf.strings.to_hash_bucket_fast(tf.strings.as_string(ids), 7)  # strings
        unique, _ = tf.unique(ids)  # unique
        kept = tf.boolean_mask(scores, ids > 3)  # mask
        twice = tf.py_function(lambda value: 2 * value, [scores], tf.float32)  # python
        tf.print(scores)  # print
        wide = tf.cast(scores, tf.float64) * 2  # wide
        for _ in tf.range(3):
            if tf.reduce_sum(scores) > 0:
                scores = tf.reshape(tf.strings.to_number(tf.strings.as_string(scores)), [16, 8])  # nested
        loss = tf.reduce_sum(kept) + tf.reduce_sum(twice) + tf.reduce_sum(tf.cast(wide, tf.float32))
    return tape.gradient(loss, weights), hashed, tf.reduce_sum(unique), scores


def test_every_op_that_a_tpu_refuses_is_named_with_its_line() -> None:
    marked = {
        line.rpartition("# ")[2]: number
        for number, line in enumerate(HERE.read_text().splitlines(), 1)
        if "  # " in line
    }
    found = refused(bad_step)
    assert {(refusal.line.path, refusal.line.gradient) for refusal in found if refusal.line} >= {(str(HERE), False)}
    named = [
        (refusal.line.number, refusal.ops, refusal.reason)
        for refusal in found
        if refusal.line and not refusal.line.gradient
    ]
    assert [(number, ops) for number, ops, _ in named] == [
        (marked["strings"], ("AsString", "StringToHashBucketFast")),
        (marked["unique"], ("Unique",)),
        (marked["mask"], ("Where",)),
        (marked["python"], ("EagerPyFunc",)),
        (marked["print"], ("StringFormat", "PrintV2")),
        (marked["wide"], ("Cast", "Const")),
        (marked["nested"], ("AsString", "StringToNumber")),
    ]
    reasons = [reason for _, _, reason in named]
    expected = (STRINGS, SHAPE, SHAPE, PYTHON, STRINGS, "makes float64", STRINGS)
    assert all(reason.startswith(start) for reason, start in zip(reasons, expected, strict=True)), reasons


def test_the_gradient_of_a_line_is_told_apart() -> None:
    gradients = [refusal for refusal in refused(bad_step) if refusal.line and refusal.line.gradient]
    assert {(refusal.ops, refusal.line.text) for refusal in gradients if refusal.line} == {
        (("EagerPyFunc",), "twice = tf.py_function(lambda value: 2 * value, [scores], tf.float32)  # python"),
        (("Cast",), "loss = tf.reduce_sum(kept) + tf.reduce_sum(twice) + tf.reduce_sum(tf.cast(wide, tf.float32))"),
    }


def test_what_follows_from_a_shape_is_not_told_again() -> None:
    def step(matrix: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        kept = tf.boolean_mask(matrix, ids > 3)
        return tf.reduce_sum(tf.ones_like(kept) * kept + tf.cast(tf.range(tf.shape(kept)[0]), tf.float32)[:, None])

    assert [refusal.ops for refusal in refused(step)] == [("Where",)]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("dense", lambda matrix, ids: tf.nn.softmax(tf.matmul(matrix, matrix, transpose_b=True))),
        ("gather", lambda matrix, ids: tf.math.unsorted_segment_sum(tf.gather(matrix, ids), ids, 16)),
        ("top_k", lambda matrix, ids: tf.math.top_k(matrix, 3).values),
        ("while", lambda matrix, ids: tf.while_loop(lambda i, m: i < 3, lambda i, m: (i + 1, m * 2), [0, matrix])[1]),
        ("cond", lambda matrix, ids: tf.cond(ids[0] > 0, lambda: matrix, lambda: -matrix)),
        ("random", lambda matrix, ids: tf.random.stateless_uniform([16], [1, 2], alg="philox") + matrix[:, 0]),
        ("identity", lambda matrix, ids: tf.identity(matrix)),
    ],
)
def test_what_a_tpu_takes_is_not_refused(name: str, step: Callable[..., tf.Tensor]) -> None:
    assert refused(step) == []


def test_ops_without_a_kernel_are_refused() -> None:
    (fresnel,) = refused(lambda matrix, ids: tf.math.special.fresnel_cos(matrix))
    assert (fresnel.ops, fresnel.reason) == (("FresnelCos",), "has no kernel in XLA for float32")
    assert fresnel.makes == "float32[16, 24]"


def test_products_are_found_with_their_padding() -> None:
    graph = (
        tf.function(lambda matrix, ids: tf.matmul(matrix, matrix, transpose_a=True))
        .get_concrete_function(MATRIX, IDS)
        .graph
    )
    (product,) = products(graph, 128)
    assert (product.rows, product.depth, product.columns) == (24, 16, 24)
    assert product.padding == pytest.approx(1 - (24 * 16 * 24) / (24 * 128 * 128))
    assert product.line is not None
    assert product.line.path == str(HERE)
