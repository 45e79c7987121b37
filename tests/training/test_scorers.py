from dataclasses import dataclass

import numpy as np

from penstock_training.data.rows import Rows
from penstock_training.evaluation import scorers
from penstock_training.evaluation.scorers import ITEM_SHRINKAGE, USER_SHRINKAGE, Scorer, mean_plus_biases, popularity


@dataclass
class Pieces:
    """Iterate over given rows as a split does, piece by piece, again and again."""

    rows: Rows

    def __iter__(self):
        cut = np.arange(len(self.rows.users)) < 100
        yield self.rows.where(cut)
        yield self.rows.where(~cut)


def test_biases_solve_their_regularised_least_squares(random: np.random.Generator, monkeypatch) -> None:
    monkeypatch.setattr(scorers, "SWEEPS", 60)
    users, items = random.integers(0, 20, 400), random.integers(0, 9, 400)
    labels = 3 + random.normal(size=20)[users] + random.normal(size=9)[items] + random.normal(size=400)
    scorer = mean_plus_biases(Pieces(Rows(users, items, labels)), 20, 9)
    design = np.concatenate([np.eye(20)[users], np.eye(9)[items]], axis=1)
    ridge = np.diag([USER_SHRINKAGE] * 20 + [ITEM_SHRINKAGE] * 9)
    solution = np.linalg.solve(design.T @ design + ridge, design.T @ (labels - labels.mean()))
    np.testing.assert_allclose(scorer.scores(users, items), labels.mean() + design @ solution, rtol=1e-4)


def test_popularity_ranks_by_counts_alike_for_everyone() -> None:
    scorer = popularity(np.array([0.0, 0, 3, 40, 5]))
    scores = scorer.queries(np.array([1, 2])) @ scorer.candidates.T
    assert np.argsort(-scores, axis=1)[:, :3].tolist() == [[3, 4, 2]] * 2


def test_pairs_are_scored_in_pieces(random: np.random.Generator, monkeypatch) -> None:
    monkeypatch.setattr(scorers, "IDS_PER_PIECE", 7)
    queries, candidates = random.normal(size=(2, 30, 4)).astype(np.float32)
    scorer = Scorer("s", lambda users: queries[users], candidates)
    users, items = random.integers(0, 30, (2, 25))
    np.testing.assert_allclose(scorer.scores(users, items), (queries[users] * candidates[items]).sum(axis=1), rtol=1e-5)
    assert scorer.scores(users[:0], items[:0]).shape == (0,)
