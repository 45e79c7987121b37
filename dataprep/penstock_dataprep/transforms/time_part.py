"""Take a part of a date or a time of day."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from penstock_dataprep.transforms.base import Rule
from penstock_shared.transforms import PartName, TimePart, TimeUnit

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6}
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799  # of the years 1 to 9999
DAY_SECONDS = 86_400
MONDAY = 3  # 1970-01-01 was a Thursday, the fourth day of its week


class TimePartRule(Rule):
    """Ask for a part; integers count `unit` since 1970, seconds where none is given, timestamps know theirs."""

    takes: ClassVar[tuple[str, ...]] = ("int64",)
    makes: ClassVar[str] = "int64"

    kind: Literal["time_part"]
    part: PartName
    unit: TimeUnit | None = None

    @property
    def domain(self) -> tuple[float, float] | None:
        """Return the years 1 to 9999."""
        per_second = PER_SECOND[self.unit or "s"]
        return FIRST_SECOND * per_second, (LAST_SECOND + 1) * per_second - 1

    def settle(self, measure: Any) -> TimePart:
        """Return the part and its unit."""
        return TimePart(kind="time_part", part=self.part, unit=self.unit or "s")


def time_part(settings: TimePart, times: pa.Array) -> pa.Array:
    """Return a part of each int64 time as int64, nulls kept."""
    seconds = times.fill_null(0).to_numpy(zero_copy_only=False) // PER_SECOND[settings.unit]
    return pa.array(PARTS[settings.part](seconds), mask=times.is_null().to_numpy(zero_copy_only=False))


def _months(seconds: np.ndarray) -> np.ndarray:
    return _dates(seconds).astype("datetime64[M]")


def _dates(seconds: np.ndarray) -> np.ndarray:
    return (seconds // DAY_SECONDS).astype("datetime64[D]")


PARTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "minute": lambda seconds: seconds // 60 % 60,
    "hour": lambda seconds: seconds // 3600 % 24,
    "weekday": lambda seconds: (seconds // DAY_SECONDS + MONDAY) % 7,
    "day": lambda seconds: (_dates(seconds) - _months(seconds)).astype(np.int64) + 1,
    "month": lambda seconds: _months(seconds).astype(np.int64) % 12 + 1,
    "year": lambda seconds: _dates(seconds).astype("datetime64[Y]").astype(np.int64) + 1970,
}
