"""Compare training steps on a table of 10 million rows with steps on one of 100 thousand, ours and Keras Adam's.

    python benchmarks/step.py [--rounds 5]

A step looks up a batch of 4096 users and items in two tables of 32 columns, scores the pairs, takes the loss and
updates. Ours: the trainer's own step, with each row optimiser. The alternative: tf.keras Adam on two Keras Embedding
layers, which updates every row's moments in every step. Ids are drawn evenly, the worst case for the cache.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import penstock_training  # noqa: F401  (sets the environment TensorFlow reads when it is imported)
import tensorflow as tf  # isort: skip

from penstock_training.losses import Scored, squared_error
from penstock_training.models.matrix_factorisation import MatrixFactorisationModel
from penstock_training.optimizers import ROW_OPTIMIZERS
from penstock_training.recipe import Adagrad, Adam, MatrixFactorisation, Sgd, SquaredError

BATCH_ROWS, DIMENSION, BATCHES = 4096, 32, 50
SMALL_ROWS, LARGE_ROWS = 100_000, 10_000_000
OPTIONS = {"adagrad": Adagrad(kind="adagrad"), "adam": Adam(kind="adam"), "sgd": Sgd(kind="sgd")}


def penstock_step(kind: str, rows: int) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], None]:
    """Return one step on tables of `rows` users and as many items."""
    model = MatrixFactorisationModel(
        MatrixFactorisation(kind="matrix_factorisation", dimension=DIMENSION), rows, np.ones(rows), 1, 3.0
    )
    optimizer = ROW_OPTIMIZERS[kind](model.tables, OPTIONS[kind])

    @tf.function
    def step(users: tf.Tensor, items: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            queries, candidates = model.queries(users), model.candidates(items)
            scored = Scored(queries, candidates, items, labels, None)
            loss = squared_error(SquaredError(kind="squared_error"), scored, labels)
        for table, gradient in zip(model.tables, tape.gradient(loss, model.tables), strict=True):
            optimizer.apply(table, gradient, tf.constant(0, tf.int64))

    return step


def keras_step(rows: int) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], None]:
    """Return one step of Keras Adam on Keras embeddings, of the same vectors and biases."""
    sides = [[tf.keras.layers.Embedding(rows, width) for width in (DIMENSION, 1)] for _ in range(2)]
    for embedding in sides[0] + sides[1]:
        embedding.build(None)
    variables = [embedding.embeddings for side in sides for embedding in side]
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(variables)

    @tf.function
    def step(users: tf.Tensor, items: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            (user, user_bias), (item, item_bias) = (
                [embedding(ids) for embedding in side] for side, ids in zip(sides, (users, items), strict=True)
            )
            scores = tf.reduce_sum(user * item, axis=1, keepdims=True) + user_bias + item_bias
            loss = 0.5 * tf.reduce_mean(tf.square(scores[:, 0] - labels))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    return step


def milliseconds(step: Callable[..., None], rows: int, rounds: int, batches: int) -> float:
    """Return the median time of a step, after as many steps to warm up."""
    random = np.random.default_rng(0)
    drawn = [
        tuple(tf.constant(random.integers(0, rows, BATCH_ROWS).astype(np.int32)) for _ in range(2))
        for _ in range(batches)
    ]
    labels = tf.constant(random.random(BATCH_ROWS).astype(np.float32))
    times = []
    for number in range(rounds + 1):
        for users, items in drawn:
            started = time.perf_counter()
            step(users, items, labels)
            if number:
                times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def main() -> None:
    """Time every optimiser on both tables and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    makers: dict[str, Callable[[int], Callable[..., None]]] = {
        f"penstock {kind}": lambda rows, kind=kind: penstock_step(kind, rows) for kind in OPTIONS
    }
    makers["keras adam"] = keras_step
    for name, make in makers.items():
        slow = name == "keras adam"
        small, large = (
            milliseconds(make(rows), rows, 1 if slow else flags.rounds, 3 if slow else BATCHES)
            for rows in (SMALL_ROWS, LARGE_ROWS)
        )
        print(
            f"{name:18s} {SMALL_ROWS:>10,} rows {small:8.2f} ms   {LARGE_ROWS:>10,} rows {large:8.2f} ms   ratio {large / small:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
