"""Draw the coverage curve of a vocabulary from how many tokens have each count."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from penstock_dataprep.statistics.facts import share
from penstock_shared.vocabularies import CoveragePoint


@dataclass(frozen=True)
class CountLevels:
    """Hold how many tokens have each count: `counts` int64, descending and distinct, `tokens` int64 beside them.

    N tokens of n values in all have at most sqrt(2 n) distinct counts, so this is small for any vocabulary.
    """

    counts: np.ndarray
    tokens: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> "CountLevels":
        """Return the levels of some tokens' counts; in linear time where they are in order."""
        if len(counts) == 0:
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        starts = np.append(0, np.flatnonzero(counts[1:] != counts[:-1]) + 1)
        return cls._merged(counts[starts].astype(np.int64), np.diff(np.append(starts, len(counts))))

    @classmethod
    def merge(cls, parts: list["CountLevels"]) -> "CountLevels":
        """Return the levels of all tokens of some."""
        none = cls.of(np.zeros(0, np.int64))
        parts = [none, *parts]
        return cls._merged(np.concatenate([held.counts for held in parts]), np.concatenate([p.tokens for p in parts]))

    @classmethod
    def _merged(cls, counts: np.ndarray, tokens: np.ndarray) -> "CountLevels":
        distinct, place = np.unique(-counts, return_inverse=True)
        sums = np.zeros(len(distinct), np.int64)
        np.add.at(sums, place, tokens)
        return cls(-distinct, sums)

    @property
    def total(self) -> int:
        """Return the sum of all tokens' counts."""
        return int((self.counts * self.tokens).sum())

    def curve(self, counted: int) -> tuple[CoveragePoint, ...]:
        """Return the share of `counted` values that the most frequent 1, 2, 5, 10, 20, 50, ... and all tokens cover."""
        reached = np.append(0, np.cumsum(self.tokens))
        covered = np.append(0, np.cumsum(self.counts * self.tokens))
        points = []
        for tokens in curve_places(int(reached[-1])):
            # Ties need no order: tokens of one level count alike.
            level = int(np.searchsorted(reached, tokens, side="left")) - 1
            values = int(covered[level]) + (tokens - int(reached[level])) * int(self.counts[level])
            points.append(CoveragePoint(tokens=tokens, coverage=share(values, counted)))
        return tuple(points)


def curve_places(tokens: int) -> Iterator[int]:
    """Yield 1, 2, 5, 10, 20, 50, ... below `tokens`, and `tokens`; nothing for no tokens."""
    step = 1
    while step < tokens:
        for factor in (1, 2, 5):
            if factor * step < tokens:
                yield factor * step
        step *= 10
    if tokens:
        yield tokens
