"""Rank all items for many users, ours beside FactorizedTopK of TensorFlow Recommenders, on the same vectors.

    python benchmarks/ranking.py [--users 10000] [--items 100000] [--width 32] [--rounds 3]

Ours is what `evaluate` does: every metric at 1, 5, 10, 50 and 100, of each user's one held-out item among all. The
alternatives give the hit rates alone: FactorizedTopK over a dataset of candidates in batches of 128, as in its guide
(layers.factorized_top_k.Streaming), and over BruteForce, which holds all scores of a batch of users. All must count the
same hits. They cannot hide seen items as an evaluation must, so that ours is taken without hiding as well as with 100
seen items for each user. A share of the users find their item among their first 100 (`--found`), as with a trained
model; since ours drops users early that find nothing, it is measured with all of them finding theirs besides.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

import penstock_training  # noqa: F401  (sets the environment TensorFlow reads when it is imported)

import tensorflow as tf  # isort: skip
import tensorflow_recommenders as tfrs  # isort: skip

from penstock_training.data.rows import Rows
from penstock_training.evaluation.evaluate import ranking_metrics
from penstock_training.evaluation.ranking import Questions, ask
from penstock_training.evaluation.scorers import Scorer

CUT_OFFS = (1, 5, 10, 50, 100)
SEEN_PER_USER = 100
BATCH_USERS = 1024
TARGET = 3

Rates = tuple[float, ...]


def make_vectors(users: int, items: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 queries and candidates whose last column is an item's bias, falling as popularity does."""
    random = np.random.default_rng(0)
    queries, candidates = (random.normal(size=(rows, width)).astype(np.float32) for rows in (users, items))
    queries[:, -1], candidates[:, -1] = 1, -np.log(np.arange(1, items + 1))
    return queries, candidates


def hold_out(queries: np.ndarray, candidates: np.ndarray, found: float) -> np.ndarray:
    """Return an item for each user, int64 [users]: for a share `found` one of its first 100, for the others any."""
    random = np.random.default_rng(1)
    items = random.integers(0, len(candidates), len(queries))
    for user in np.flatnonzero(random.random(len(queries)) < found):
        best = np.argpartition(-(candidates @ queries[user]), CUT_OFFS[-1])[: CUT_OFFS[-1]]
        items[user] = random.choice(best)
    return items


def questions(items: np.ndarray, candidates: int, seen_per_user: int) -> Questions:
    """Return what the evaluation asks, with items at random as seen."""
    random = np.random.default_rng(2)
    users = np.arange(len(items))
    test = Rows(users, items, np.zeros(len(items)))
    rows = np.repeat(users, seen_per_user)
    drawn = random.integers(0, candidates, len(rows))
    kept = drawn != items[rows]
    seen = Rows(rows[kept], drawn[kept], np.zeros(int(kept.sum())))
    return ask(test, seen if seen_per_user else None, 0, 0, candidates)


def ours(queries: np.ndarray, candidates: np.ndarray, asked: Questions) -> Rates:
    """Return the hit rates at the cut-offs."""
    scorer = Scorer("benchmark", lambda users: queries[users], candidates)
    metrics = ranking_metrics(scorer, asked, 0, CUT_OFFS)
    return tuple(metrics[f"hit_rate@{k}"][0] for k in CUT_OFFS)


def factorized_top_k(
    index: tfrs.layers.factorized_top_k.TopK, queries: np.ndarray, candidates: np.ndarray, items: np.ndarray
) -> Callable[[], Rates]:
    """Return the evaluation with an index of TensorFlow Recommenders, compiled."""
    metric = tfrs.metrics.FactorizedTopK(index, ks=CUT_OFFS)

    @tf.function(reduce_retracing=True)
    def update(query: tf.Tensor, item: tf.Tensor, number: tf.Tensor) -> None:
        metric.update_state(query, item, true_candidate_ids=number)

    def evaluate() -> Rates:
        metric.reset_states()
        for start in range(0, len(items), BATCH_USERS):
            numbers = items[start : start + BATCH_USERS].astype(np.int32)
            update(*map(tf.constant, (queries[start : start + BATCH_USERS], candidates[numbers], numbers)))
        return tuple(float(value) for value in metric.result())

    return evaluate


def streaming(candidates: np.ndarray, batch: int) -> tfrs.layers.factorized_top_k.TopK:
    """Return the index that FactorizedTopK makes of a dataset by itself."""
    numbers = np.arange(len(candidates), dtype=np.int32)
    dataset = tf.data.Dataset.from_tensor_slices((numbers, candidates)).batch(batch)
    return tfrs.layers.factorized_top_k.Streaming(k=CUT_OFFS[-1]).index_from_dataset(dataset)


def brute_force(candidates: np.ndarray) -> tfrs.layers.factorized_top_k.TopK:
    """Return the index that computes all scores of a batch at once."""
    return tfrs.layers.factorized_top_k.BruteForce(k=CUT_OFFS[-1]).index(tf.constant(candidates))


def main() -> None:
    """Rank in turn, `rounds` times, hold the hits against each other, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--found", type=float, default=0.3, help="users who find their item among the first 100")
    parser.add_argument("--candidate-batch", type=int, default=128, help="candidates at a time for FactorizedTopK")
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    queries, candidates = make_vectors(flags.users, flags.items, flags.width)
    items, all_found = (hold_out(queries, candidates, found) for found in (flags.found, 1.0))
    asked = {
        "ours": questions(items, flags.items, 0),
        "ours, seen hidden": questions(items, flags.items, SEEN_PER_USER),
        "ours, all found": questions(all_found, flags.items, 0),
    }
    # Ours comes first, and its peak memory is read before the others run.
    evaluations: dict[str, Callable[[], Rates]] = {
        name: (lambda question=question: ours(queries, candidates, question)) for name, question in asked.items()
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for evaluate in evaluations.values():
        evaluate()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    evaluations["FactorizedTopK"] = factorized_top_k(
        streaming(candidates, flags.candidate_batch), queries, candidates, items
    )
    evaluations["over BruteForce"] = factorized_top_k(brute_force(candidates), queries, candidates, items)
    seconds: dict[str, list[float]] = {name: [] for name in evaluations}
    for number in range(flags.rounds):
        rates = {}
        for name, evaluate in evaluations.items():
            started = time.perf_counter()
            rates[name] = evaluate()
            seconds[name].append(time.perf_counter() - started)
        if not all(
            np.allclose(rates[name], rates["ours"], atol=1e-6) for name in ("FactorizedTopK", "over BruteForce")
        ):
            raise SystemExit(f"they do not count the same hits: {rates}")
        print(
            f"round {number}: " + ", ".join(f"{name} {times[-1]:.2f} s" for name, times in seconds.items()), flush=True
        )
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        f"{flags.users:,} users, {flags.items:,} items, width {flags.width}; hit rate at 100: {rates['ours'][-1]:.4f}"
    )
    for name, median in medians.items():
        print(
            f"{name:18s} {median:8.2f} s {flags.users / median:10,.0f} users/s {median / medians['ours']:7.2f} x ours"
        )
    worst = medians["FactorizedTopK"] / medians["ours, all found"]
    print(
        f"FactorizedTopK takes {worst:.2f} times what ours takes where all are found; target: at least {TARGET} times"
    )
    print(
        f"ours grew the process by {grown:,.0f} MiB at its peak; a matrix of all scores has "
        f"{flags.users * flags.items * 4 / (1 << 20):,.0f} MiB"
    )


if __name__ == "__main__":
    main()
