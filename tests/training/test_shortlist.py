import numpy as np
import pytest
import tensorflow as tf

from penstock_training.evaluation import shortlist as module
from penstock_training.evaluation.shortlist import Pairs, shortlist

USERS, ITEMS, WIDTH = 9, 300, 5
NO_PAIRS = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64))


def in_order(scores: np.ndarray, hidden: Pairs) -> list[list[int]]:
    """Return all items of each user by falling score, ties by rising item, without the hidden ones."""
    forbidden = set(zip(hidden.rows.tolist(), hidden.items.tolist(), strict=True))
    orders = np.argsort(-scores, axis=1, kind="stable")
    return [[item for item in order.tolist() if (row, item) not in forbidden] for row, order in enumerate(orders)]


def check(queries: np.ndarray, candidates: np.ndarray, wanted: Pairs, hidden: Pairs, k: int) -> None:
    found = shortlist(queries.astype(np.float32), candidates.astype(np.float32), wanted, hidden, k)
    assert found.shape == (len(queries), k)
    for row, order in enumerate(in_order(queries @ candidates.T, hidden)):
        mine = wanted.items[wanted.rows == row].tolist()
        last = max((place for place, item in enumerate(order[:k]) if item in mine), default=-1)
        assert found[row, : last + 1].tolist() == order[: last + 1]
        assert not set(found[row, last + 1 :].tolist()) & set(mine)


def draw(random: np.random.Generator, pairs: int, items: int = ITEMS) -> Pairs:
    rows, drawn = np.divmod(np.unique(random.integers(0, USERS * items, pairs)), items)
    return Pairs(rows, drawn)


def without(pairs: Pairs, others: Pairs) -> Pairs:
    return pairs.take(~np.isin(pairs.rows * ITEMS + pairs.items, others.rows * ITEMS + others.items))


@pytest.mark.parametrize("scores_per_tile", [1, 700, 1 << 22])
@pytest.mark.parametrize("k", [1, 20, 500])
def test_as_sorting_gives(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator, scores_per_tile: int, k: int
) -> None:
    monkeypatch.setattr(module, "SCORES_PER_TILE", scores_per_tile)
    hidden = draw(random, 900)
    for values in (2, 30):  # few different scores, so that ties are common, and many
        queries, candidates = random.integers(0, values, (USERS, WIDTH)), random.integers(0, values, (ITEMS, WIDTH))
        check(queries, candidates, without(draw(random, 90), hidden), hidden, k)


@pytest.mark.parametrize("order", ["falling", "rising", "equal"])
def test_any_order_of_items(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    monkeypatch.setattr(module, "SCORES_PER_TILE", USERS * 32)
    scores = {"falling": np.arange(ITEMS)[::-1], "rising": np.arange(ITEMS), "equal": np.zeros(ITEMS)}[order]
    everyone = Pairs(np.arange(USERS), np.argsort(-scores, kind="stable")[np.arange(USERS) * 3])
    check(np.ones((USERS, 1)), scores[:, None], everyone, NO_PAIRS, 20)


def test_who_can_want_nothing_more_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCORES_PER_TILE", 2 * 32)
    rows_of_tiles, masked_scores = [], module._masked_scores
    monkeypatch.setattr(
        module, "_masked_scores", lambda *pieces: rows_of_tiles.append(len(pieces[0])) or masked_scores(*pieces)
    )
    # The first user wants the best item, the second the worst.
    shortlist(
        np.ones((2, 1), np.float32),
        -np.arange(ITEMS, dtype=np.float32)[:, None],
        Pairs(np.arange(2), np.array([0, ITEMS - 1])),
        NO_PAIRS,
        10,
    )
    assert rows_of_tiles[0] == 2
    assert set(rows_of_tiles[1:]) == {1}


def test_bounds_hold_for_products_of_bfloat16(random: np.random.Generator) -> None:
    queries, candidates = random.normal(size=(2, 2000, 64)).astype(np.float32)
    every = np.arange(2000)
    lowest, highest = module._score_bounds(queries, candidates, Pairs(every, every))
    rounded = [tf.cast(tf.cast(side, tf.bfloat16), tf.float32) for side in (queries, candidates)]
    for left, right in (rounded, (queries, candidates)):
        scores = tf.reduce_sum(left * right, axis=1).numpy()
        assert (lowest < scores).all()
        assert (scores < highest).all()
