"""Rank every item for every test user, and say where the relevant ones came."""

from dataclasses import dataclass

import numpy as np

from penstock_training.data.rows import Rows
from penstock_training.evaluation.scorers import Scorer
from penstock_training.evaluation.shortlist import Pairs, shortlist

# Users ranked at a time, and how many of their first k items: 10 MiB for k = 100.
USERS_PER_PIECE, ITEMS_PER_PIECE = 4096, 1 << 20


@dataclass(frozen=True)
class Questions:
    """Hold what the ranking is asked: each user's relevant and hidden items, and what was left out and why.

    `users` int64 [users]; `relevant` and `hidden` int64 [pairs] hold user number x items + item, ascending, where a
    user number is a place in `users`. `left_out` counts rows by reason.
    """

    users: np.ndarray
    relevant: np.ndarray
    hidden: np.ndarray
    items: int
    left_out: dict[str, int]

    @property
    def relevant_per_user(self) -> np.ndarray:
        """Return how many relevant items each user has, at least one."""
        return np.bincount(self.relevant // self.items, minlength=len(self.users))


def ask(test: Rows, seen: Rows | None, first_user: int, first_item: int, items: int) -> Questions:
    """Build the questions: each known test user's known items, without those seen in training when `seen` is given.

    Ids below `first_user` and `first_item` are reserved: such rows are left out, since many users or items share the
    id. A pair that comes twice counts once.
    """
    known_user, known_item = test.users >= first_user, test.items >= first_item
    left_out = {
        "rows of users outside the vocabulary": int((~known_user).sum()),
        "rows of items outside the vocabulary": int((known_user & ~known_item).sum()),
    }
    known = test.where(known_user & known_item)
    users, numbers = np.unique(known.users, return_inverse=True)
    pairs = numbers.astype(np.int64) * items + known.items
    relevant = np.unique(pairs)
    left_out["repeated rows"] = len(pairs) - len(relevant)
    hidden = np.zeros(0, np.int64)
    if seen is not None:
        mine = seen.where(np.isin(seen.users, users) & (seen.items >= first_item))
        hidden = np.unique(np.searchsorted(users, mine.users) * items + mine.items)
        asked = np.setdiff1d(relevant, hidden, assume_unique=True)
        left_out["rows of items seen in training"] = len(relevant) - len(asked)
        relevant = asked
    asked_numbers = np.unique(relevant // items)
    return Questions(
        users[asked_numbers],
        _renumber(relevant, asked_numbers, items),
        _renumber(hidden, asked_numbers, items),
        items,
        left_out,
    )


def rank(scorer: Scorer, questions: Questions, first_item: int, k: int) -> np.ndarray:
    """Return whether the item at each of the first k ranks is relevant, bool [users, k].

    Ranked are all items but the reserved ids and the hidden ones, by falling score, ties by rising id.
    """
    candidates = scorer.candidates[first_item:]
    per_piece = max(1, min(USERS_PER_PIECE, ITEMS_PER_PIECE // k))
    hits = [np.zeros((0, k), bool)]
    for start in range(0, len(questions.users), per_piece):
        users = questions.users[start : start + per_piece]
        relevant, hidden = (
            _pairs(asked, start, start + len(users), questions.items, first_item)
            for asked in (questions.relevant, questions.hidden)
        )
        best = shortlist(scorer.queries(users), candidates, relevant, hidden, k)
        places = np.arange(len(users))[:, None] * len(candidates) + best
        hits.append(_contains(relevant.rows * len(candidates) + relevant.items, places) & (best >= 0))
    return np.concatenate(hits)


def _pairs(pairs: np.ndarray, start: int, stop: int, items: int, first_item: int) -> Pairs:
    """Return the pairs of users `start` to `stop`, with rows counted from `start` and items from `first_item`."""
    bounds = np.searchsorted(pairs, [start * items, stop * items])
    number, item = np.divmod(pairs[slice(*bounds)], items)
    return Pairs(number - start, item - first_item)


def _renumber(pairs: np.ndarray, kept_numbers: np.ndarray, items: int) -> np.ndarray:
    number, item = np.divmod(pairs, items)
    kept = np.isin(number, kept_numbers)
    renumbered: np.ndarray = np.searchsorted(kept_numbers, number[kept]) * items + item[kept]
    return renumbered


def _contains(sorted_values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if not len(sorted_values):
        return np.zeros(wanted.shape, bool)
    place = np.minimum(np.searchsorted(sorted_values, wanted), len(sorted_values) - 1)
    found: np.ndarray = sorted_values[place] == wanted
    return found
