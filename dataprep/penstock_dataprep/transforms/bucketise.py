"""Turn numbers into the number of the bucket they fall in."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from penstock_dataprep.statistics.histogram import Histogram
from penstock_dataprep.transforms.base import Rule
from penstock_shared.transforms import Bucketised

MANTISSA = np.int64(2**63 - 1)
BUCKETS = 1 << 16


class Bucketise(Rule):
    """Ask for buckets between `boundaries`, or for as many as `quantiles` that hold about equally many training rows.

    A boundary belongs to the bucket above it. Where a value is so frequent that it would fill several buckets, there
    are fewer of them.
    """

    takes: ClassVar[tuple[str, ...]] = ("float32", "int64")
    makes: ClassVar[str] = "int64"

    kind: Literal["bucketise"]
    boundaries: Annotated[tuple[float, ...], Field(min_length=1, max_length=2**16 - 1)] | None = None
    quantiles: Annotated[int, Field(ge=2, le=1024)] | None = None

    @model_validator(mode="after")
    def _names_one(self) -> "Bucketise":
        if (self.boundaries is None) == (self.quantiles is None):
            raise ValueError("either boundaries or quantiles")
        if self.boundaries is not None and list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError("boundaries that ascend, none twice")
        return self

    @property
    def is_measured(self) -> bool:
        """Tell whether the training rows decide the boundaries."""
        return self.quantiles is not None

    def measure(self, numbers: np.ndarray) -> Histogram:
        """Count the numbers by their place among all float64 numbers."""
        return Histogram.of(float_places(numbers.astype(np.float64)), BUCKETS)

    def settle(self, measure: Any) -> Bucketised:
        """Return the boundaries."""
        boundaries = self.boundaries if self.quantiles is None else quantiles(measure, self.quantiles)
        return Bucketised(kind="bucketise", boundaries=tuple(boundaries or ()))


def bucketise(settings: Bucketised, numbers: pa.Array) -> pa.Array:
    """Return int64 ids of the buckets of int64 or float32 numbers, nulls kept."""
    wide = numbers.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    ids = np.searchsorted(np.array(settings.boundaries, np.float64), wide, side="right")
    return pa.array(ids.astype(np.int64), mask=numbers.is_null().to_numpy(zero_copy_only=False))


def float_places(numbers: np.ndarray) -> np.ndarray:
    """Return int64 places that order float64 numbers as they are; next to each other they are nearest neighbours.

    A float's bits are its logarithm and what is left of it, so buckets of equal width are of equal relative width
    (as in Tene's HdrHistogram), whatever the range of the numbers.
    """
    bits = (numbers + 0.0).view(np.int64)  # -0.0 becomes 0.0
    return np.where(bits < 0, bits ^ MANTISSA, bits)


def float_at(places: np.ndarray) -> np.ndarray:
    """Return the float64 numbers at places."""
    return np.where(places < 0, places ^ MANTISSA, places).view(np.float64)


def quantiles(measure: Histogram, buckets: int) -> list[float]:
    """Return up to `buckets` - 1 boundaries, each with a share of rows below it that is nearest to k / buckets.

    Exact where the rows hold no more distinct numbers than the histogram has buckets; else within one of those.
    """
    below = np.cumsum(measure.counts) - measure.counts
    total = int(measure.counts.sum())
    wanted = np.arange(1, buckets) * total / buckets
    after = np.clip(np.searchsorted(below, wanted), 1, max(1, len(below) - 1))
    before = after - 1
    nearest = np.where(wanted - below[before] <= below[np.minimum(after, len(below) - 1)] - wanted, before, after)
    chosen = np.unique(nearest[(nearest > 0) & (nearest < len(below))])
    found: list[float] = float_at(measure.buckets[chosen] << measure.shift).tolist()
    return found
