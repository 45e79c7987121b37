"""Say which values each trial of a sweep tries: pure functions of the sweep file."""

import hashlib
import itertools
import json
import math
from collections.abc import Callable
from typing import Any

from penstock_training.sweep.schema import Choice, Distribution, Integer, LogUniform, Random, Sweep, Uniform

# Drawn numbers are cut to what a person can read and type again.
SIGNIFICANT_DIGITS = 4

Values = dict[str, Any]


def all_values(sweep: Sweep) -> list[Values]:
    """Return the values of each trial by dotted key; of a grid the last key changes fastest, and none comes twice."""
    found = _grid(sweep.grid) if sweep.grid is not None else _drawn(sweep.random) if sweep.random is not None else []
    return list({json.dumps(values, sort_keys=True): values for values in found}.values())


def chance(seed: int, trial: int, key: str) -> float:
    """Return a number in [0, 1), a pure function of its arguments."""
    digest = hashlib.sha256(json.dumps([seed, trial, key]).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _grid(grid: dict[str, tuple[Any, ...]]) -> list[Values]:
    return [dict(zip(grid, combination, strict=True)) for combination in itertools.product(*grid.values())]


def _drawn(random: Random) -> list[Values]:
    return [
        {key: _value(distribution, chance(random.seed, trial, key)) for key, distribution in random.draw.items()}
        for trial in range(random.trials)
    ]


def _value(distribution: Distribution, at: float) -> Any:
    return PLACES[distribution.kind](distribution, at)


def _choice(choice: Choice, at: float) -> Any:
    return choice.values[int(at * len(choice.values))]


def _uniform(uniform: Uniform, at: float) -> float:
    return _rounded(uniform.low + (uniform.high - uniform.low) * at, uniform)


def _log_uniform(log_uniform: LogUniform, at: float) -> float:
    return _rounded(log_uniform.low * math.pow(log_uniform.high / log_uniform.low, at), log_uniform)


def _integer(integer: Integer, at: float) -> int:
    return integer.low + integer.step * int(at * ((integer.high - integer.low) // integer.step + 1))


def _rounded(number: float, within: Uniform | LogUniform) -> float:
    return min(within.high, max(within.low, float(f"{number:.{SIGNIFICANT_DIGITS}g}")))


PLACES: dict[str, Callable[[Any, float], Any]] = {
    "choice": _choice,
    "uniform": _uniform,
    "log_uniform": _log_uniform,
    "integer": _integer,
}
