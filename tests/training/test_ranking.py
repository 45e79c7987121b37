import numpy as np
import pytest

from penstock_training.data.rows import Rows
from penstock_training.evaluation import ranking
from penstock_training.evaluation.ranking import ask, rank
from penstock_training.evaluation.scorers import Scorer

FIRST_USER, FIRST_ITEM, USERS, ITEMS = 3, 4, 30, 25


def rows(users: list[int] | np.ndarray, items: list[int] | np.ndarray) -> Rows:
    return Rows(np.array(users, np.int64), np.array(items, np.int64), np.full(len(users), np.nan))


def by_hand(scores: np.ndarray, test: Rows, seen: Rows | None, k: int) -> dict[int, list[bool]]:
    """Rank with sorted() and sets, one user at a time."""
    hidden = set() if seen is None else set(zip(seen.users.tolist(), seen.items.tolist(), strict=True))
    relevant = {
        pair
        for pair in zip(test.users.tolist(), test.items.tolist(), strict=True)
        if pair[0] >= FIRST_USER and pair[1] >= FIRST_ITEM and pair not in hidden
    }
    hits = {}
    for user in sorted({user for user, _ in relevant}):
        items = [item for item in range(FIRST_ITEM, ITEMS) if (user, item) not in hidden]
        items.sort(key=lambda item: (-scores[user, item], item))
        best = [(user, item) in relevant for item in items[:k]]
        hits[user] = best + [False] * (k - len(best))
    return hits


@pytest.mark.parametrize("filter_seen", [True, False])
@pytest.mark.parametrize("users_per_piece", [1, 4096])
def test_ranking_is_what_sorting_gives(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator, filter_seen: bool, users_per_piece: int
) -> None:
    monkeypatch.setattr(ranking, "USERS_PER_PIECE", users_per_piece)
    test = rows(random.integers(0, USERS, 60), random.integers(0, ITEMS, 60))
    seen = rows(random.integers(0, USERS, 300), random.integers(0, ITEMS, 300)) if filter_seen else None
    # Few different scores, so that ties are common.
    queries, candidates = random.integers(0, 2, (USERS, 2)), random.integers(0, 3, (ITEMS, 2))
    scorer = Scorer("random", lambda users: queries[users].astype(np.float32), candidates.astype(np.float32))
    questions = ask(test, seen, FIRST_USER, FIRST_ITEM, ITEMS)
    expected = by_hand(queries @ candidates.T, test, seen, 7)
    assert questions.users.tolist() == list(expected)
    assert rank(scorer, questions, FIRST_ITEM, 7).tolist() == list(expected.values())


def test_left_out_rows_are_counted() -> None:
    test = rows([0, 2, 5, 5, 5, 5, 6], [9, 9, 3, 9, 9, 10, 11])
    questions = ask(test, rows([5, 6], [10, 11]), FIRST_USER, FIRST_ITEM, ITEMS)
    assert questions.left_out == {
        "rows of users outside the vocabulary": 2,
        "rows of items outside the vocabulary": 1,
        "repeated rows": 1,
        "rows of items seen in training": 2,
    }
    assert questions.users.tolist() == [5]
    assert questions.relevant_per_user.tolist() == [1]
