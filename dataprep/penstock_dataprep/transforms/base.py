"""Say what a transform takes of a column, what it makes of it, and what it has to know first."""

from typing import Any, ClassVar, Protocol

import numpy as np

from penstock_shared.strict import Strict
from penstock_shared.transforms import Transform


class Measure(Protocol):
    """Hold what was measured of some rows; merging in any order gives the same."""

    def merge(self, other: Any) -> Any:
        """Return the measure of both sets of rows."""


class Rule(Strict):
    """Hold a transform as a spec asks for it.

    `takes` are the dtypes a column may have before, the usual one first, `makes` is the dtype after; a rule that
    `makes_lists` makes a list of every value.
    """

    takes: ClassVar[tuple[str, ...]]
    makes: ClassVar[str]
    makes_lists: ClassVar[bool] = False

    @property
    def domain(self) -> tuple[float, float] | None:
        """Return (smallest, largest) of the values it can take, None for all."""
        return None

    @property
    def is_measured(self) -> bool:
        """Tell whether it depends on what the training rows hold."""
        return False

    def measure(self, numbers: np.ndarray) -> Measure:
        """Measure the int64 or float32 numbers of some training rows."""
        raise NotImplementedError

    def settle(self, measure: Any) -> Transform:
        """Return the transform with its numbers; `measure` is that of all training rows, None where none is needed."""
        raise NotImplementedError
