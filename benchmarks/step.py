"""Compare training steps on a table of 10 million rows with steps on one of 100 thousand, ours and Keras Adam's.

    python benchmarks/step.py [--rounds 7] [--kinds adagrad adam]

A step looks up a batch of 4096 users, in a table of 32 columns and as many rows as said, and 4096 of 20 thousand items,
scores the pairs, takes the loss and updates. Ours: matrix factorisation with each row optimiser. The alternative:
tf.keras Adam on Keras Embedding layers, which updates every row's moments in every step. Users are drawn evenly, the
worst case for the cache, and by Zipf's law, as `penstock-data generate` draws. There is no other work in a step, the
worst case for the ratio. Beside the time of a step stands that of the processor's cores, which other work on the
machine disturbs less.
"""

import argparse
import functools
import gc
import statistics
import time
from collections.abc import Callable

import numpy as np

import penstock_training  # noqa: F401  (sets the environment TensorFlow reads when it is imported)

import tensorflow as tf  # isort: skip

from penstock_training.fitting.losses import Scored, squared_error
from penstock_training.models.matrix_factorisation import MatrixFactorisationModel
from penstock_training.optimizers import ROW_OPTIMIZERS
from penstock_training.recipe import (
    Adagrad,
    Adam,
    Ftrl,
    MatrixFactorisation,
    RowWiseAdagrad,
    Sgd,
    SquaredError,
)

BATCH_ROWS, DIMENSION, BATCHES = 4096, 32, 50
SMALL_ROWS, LARGE_ROWS, ITEMS = 100_000, 10_000_000, 20_000
OPTIONS = {
    "adagrad": Adagrad(kind="adagrad"),
    "row_wise_adagrad": RowWiseAdagrad(kind="row_wise_adagrad"),
    "adam": Adam(kind="adam"),
    "ftrl": Ftrl(kind="ftrl"),
    "sgd": Sgd(kind="sgd"),
}


def penstock_step(kind: str, rows: int) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], None]:
    """Return one step of the trainer's on tables of `rows` users."""
    model = MatrixFactorisationModel(
        MatrixFactorisation(kind="matrix_factorisation", dimension=DIMENSION), rows, np.ones(ITEMS), 1, 3.0
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
    sides = [[tf.keras.layers.Embedding(size, width) for width in (DIMENSION, 1)] for size in (rows, ITEMS)]
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


def drawn_evenly(random: np.random.Generator, rows: int) -> np.ndarray:
    """Return a batch of ids, each as likely as any other."""
    return random.integers(0, rows, BATCH_ROWS)


def drawn_by_zipf(random: np.random.Generator, rows: int) -> np.ndarray:
    """Return a batch of ids of which the i-th is drawn in proportion to 1 / i, the most frequent first."""
    return np.minimum(np.exp(random.random(BATCH_ROWS) * np.log(rows)).astype(np.int64), rows) - 1


DRAWS = {"evenly": drawn_evenly, "by Zipf": drawn_by_zipf}


def milliseconds(
    steps: dict[int, Callable[..., None]], draw: Callable[..., np.ndarray], rounds: int, batches: int
) -> dict[int, tuple[float, float]]:
    """Return a step's median (time, processor time of the median round) by the rows of its table.

    Tables take turns, and the first round warms up.
    """
    random = np.random.default_rng(0)
    drawn = {
        rows: [
            (tf.constant(draw(random, rows), tf.int32), tf.constant(drawn_evenly(random, ITEMS), tf.int32))
            for _ in range(batches)
        ]
        for rows in steps
    }
    labels = tf.constant(random.random(BATCH_ROWS).astype(np.float32))
    times: dict[int, list[float]] = {rows: [] for rows in steps}
    processor: dict[int, list[float]] = {rows: [] for rows in steps}
    for number in range(rounds + 1):
        for rows, step in steps.items():
            used = time.process_time()
            for users, items in drawn[rows]:
                started = time.perf_counter()
                step(users, items, labels)
                if number:
                    times[rows].append(time.perf_counter() - started)
            if number:
                processor[rows].append((time.process_time() - used) / batches)
    return {rows: (1000 * statistics.median(times[rows]), 1000 * statistics.median(processor[rows])) for rows in steps}


def main() -> None:
    """Time every optimiser on both tables and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kinds", nargs="+", choices=[*OPTIONS, "keras"], default=[*OPTIONS, "keras"])
    flags = parser.parse_args()
    for kind in flags.kinds:
        gc.collect()  # the tables of the optimiser before
        make = keras_step if kind == "keras" else functools.partial(penstock_step, kind)
        steps = {rows: make(rows) for rows in (SMALL_ROWS, LARGE_ROWS)}
        for draw, function in DRAWS.items():
            found = milliseconds(steps, function, *((1, 3) if kind == "keras" else (flags.rounds, BATCHES)))
            shown = "   ".join(f"{rows:>10,} rows {taken:8.2f} ms" for rows, (taken, _) in found.items())
            ratios = [large / small for small, large in zip(found[SMALL_ROWS], found[LARGE_ROWS], strict=True)]
            name = "keras adam" if kind == "keras" else f"penstock {kind}"
            print(
                f"{name:25s} {draw:8s} {shown}   ratio {ratios[0]:.2f}, of processor time {ratios[1]:.2f}", flush=True
            )
        del steps


if __name__ == "__main__":
    main()
