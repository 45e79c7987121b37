"""Hold one line of a forecast's arithmetic."""

from typing import NamedTuple


class Line(NamedTuple):
    """Hold a number, its unit, and how it came about."""

    name: str
    value: float
    unit: str
    how: str
