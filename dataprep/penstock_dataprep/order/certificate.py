"""Certify a shuffle: statistics of the written order that a uniform permutation must satisfy.

Each is reported as z, about standard normal when the order is a uniform permutation:

- `serial`: correlation of a feature's values in neighbouring rows of a shard, times the square root of their number
  (Wald and Wolfowitz, 1943, "An exact test for randomness in the non-parametric case based on serial correlation");
- `between`: whether a feature's mean differs between shards, a chi-square of one-way analysis of variance;
- `shard_rows`: chi-square of the rows per shard against equal shares.

A chi-square with d degrees of freedom becomes z by the cube-root transform (Wilson and Hilferty, 1931). Rows that occur
many times share a shard, so a log of mostly copies may honestly fail `shard_rows`.
"""

import math
from dataclasses import dataclass

import numpy as np

from penstock_dataprep.records.blocks import Values
from penstock_shared.features import Feature
from penstock_shared.manifest import Certificate

LIMIT_Z = 5.0
DIGITS = 6
CERTIFIED_ROLES = ("time", "user", "item")


@dataclass(frozen=True)
class Moments:
    """Hold the sums over one shard that the certificate needs of one feature, its values centred on a constant."""

    rows: int
    total: float
    squares: float
    lagged: float
    ends: float

    @classmethod
    def of(cls, values: np.ndarray, center: float) -> "Moments":
        """Sum over a shard's values in their written order."""
        centred = values.astype(np.float64) - center
        total = float(centred.sum())
        ends = float(centred[0] + centred[-1]) if len(values) else 0.0
        return cls(len(values), total, float(centred @ centred), float(centred[1:] @ centred[:-1]), ends)


def shard_moments(features: tuple[Feature, ...], values: list[Values]) -> dict[str, Moments]:
    """Return the moments of each certified feature of a shard; `values` runs parallel to `features`.

    Values are centred between the smallest and the largest, which changes nothing but keeps the sums small.
    """
    found = {}
    for feature, held in zip(features, values, strict=True):
        if feature.role in CERTIFIED_ROLES and held.lengths is None and held.present is None:
            found[feature.name] = Moments.of(held.numbers, _center(feature))
    return found


def _center(feature: Feature) -> float:
    return ((feature.statistics.smallest or 0) + (feature.statistics.largest or 0)) / 2


def certify(shards: dict[str, list[dict[str, Moments]]]) -> Certificate:
    """Return the certificate of a dataset: per split, z by statistic, and whether all are within LIMIT_Z.

    `shards` holds, per split and in shard order, each shard's moments by feature.
    """
    scores: dict[str, dict[str, float]] = {}
    for split, members in shards.items():
        found: dict[str, float] = {}
        for feature in members[0] if members else ():
            moments = [member[feature] for member in members]
            serial, between = _serial(moments), _between(moments)
            found |= {f"serial {feature}": serial} if serial is not None else {}
            found |= {f"between {feature}": between} if between is not None else {}
        rows = np.array([next(iter(member.values())).rows for member in members if member], np.float64)
        if len(rows) > 1 and rows.sum():
            expected = rows.mean()
            found["shard_rows"] = _chi_square_z(float(((rows - expected) ** 2 / expected).sum()), len(rows) - 1)
        scores[split] = {name: float(f"{z:.{DIGITS}g}") for name, z in found.items()}
    worst = max(
        (abs(z) if "serial" in name else z for found in scores.values() for name, z in found.items()), default=0.0
    )
    return Certificate(z=scores, limit_z=LIMIT_Z, passes=worst <= LIMIT_Z)


def _serial(moments: list[Moments]) -> float | None:
    """Return the pooled correlation of neighbours, scaled to z; None where values do not vary."""
    rows = sum(held.rows for held in moments)
    mean = sum(held.total for held in moments) / max(1, rows)
    variance = sum(held.squares for held in moments) / max(1, rows) - mean**2
    pairs = sum(max(0, held.rows - 1) for held in moments)
    if pairs < 2 or variance <= 1e-12 * max(1.0, mean**2):
        return None
    # The ends of a shard have one neighbour each. So the result does not depend on the constant taken off the values.
    covariance = sum(
        held.lagged - mean * (2 * held.total - held.ends) + mean**2 * max(0, held.rows - 1) for held in moments
    )
    return covariance / (variance * math.sqrt(pairs))


def _between(moments: list[Moments]) -> float | None:
    held = [member for member in moments if member.rows]
    rows = sum(member.rows for member in held)
    if len(held) < 2:
        return None
    mean = sum(member.total for member in held) / rows
    variance = sum(member.squares for member in held) / rows - mean**2
    if variance <= 1e-12 * max(1.0, mean**2):
        return None
    return _chi_square_z(
        sum(member.rows * (member.total / member.rows - mean) ** 2 for member in held) / variance, len(held) - 1
    )


def _chi_square_z(chi_square: float, freedom: int) -> float:
    spread = 2 / (9 * freedom)
    return ((chi_square / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
