"""Bring numbers to a common scale."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from penstock_dataprep.statistics.exact import exact_sums
from penstock_dataprep.transforms.base import Rule
from penstock_shared.transforms import Normalised


@dataclass(frozen=True)
class Spread:
    """Hold the exact moments and the extremes of numbers."""

    count: int
    total: Fraction
    squares: Fraction
    smallest: float
    largest: float

    @classmethod
    def of(cls, numbers: np.ndarray) -> "Spread":
        """Measure an int64 or float32 array."""
        if len(numbers) == 0:
            return cls(0, Fraction(0), Fraction(0), math.inf, -math.inf)
        return cls(len(numbers), *exact_sums(numbers), numbers.min().item(), numbers.max().item())

    def merge(self, other: "Spread") -> "Spread":
        """Return the spread of both sets of numbers."""
        return Spread(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            min(self.smallest, other.smallest),
            max(self.largest, other.largest),
        )


class Normalise(Rule):
    """Ask for mean 0 and variance 1 (`standard`), for 0 to 1 (`min_max`), or for log(1 + x) (`log1p`).

    `standard` and `min_max` hold exactly over the training rows only; other rows may lie outside, and are not cut off.
    The variance is that of the rows themselves, not an estimate for more of them.
    """

    takes: ClassVar[tuple[str, ...]] = ("float32", "int64")
    makes: ClassVar[str] = "float32"

    kind: Literal["normalise"]
    method: Literal["standard", "min_max", "log1p"] = "standard"

    @property
    def domain(self) -> tuple[float, float] | None:
        """Return the numbers from 0 on for log1p, which is for amounts."""
        return (0.0, math.inf) if self.method == "log1p" else None

    @property
    def is_measured(self) -> bool:
        """Tell whether the training rows decide the scale."""
        return self.method != "log1p"

    def measure(self, numbers: np.ndarray) -> Spread:
        """Measure moments and extremes."""
        return Spread.of(numbers)

    def settle(self, measure: Any) -> Normalised:
        """Return center and scale; numbers that are all equal become 0."""
        if self.method == "log1p":
            return Normalised(kind="normalise", method="log1p")
        if self.method == "min_max":
            width = float(measure.largest - measure.smallest)
            return Normalised(
                kind="normalise", method="min_max", center=float(measure.smallest), scale=width if width > 0 else 1.0
            )
        mean = measure.total / measure.count
        deviation = math.sqrt(measure.squares / measure.count - mean**2)
        return Normalised(kind="normalise", method="standard", center=float(mean), scale=deviation or 1.0)


def normalise(settings: Normalised, numbers: pa.Array) -> pa.Array:
    """Return int64 or float32 numbers as float32 on the new scale, nulls kept; computed in float64."""
    wide = numbers.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    scaled = np.log1p(wide) if settings.method == "log1p" else (wide - settings.center) / settings.scale
    return pa.array(scaled.astype(np.float32), mask=numbers.is_null().to_numpy(zero_copy_only=False))
