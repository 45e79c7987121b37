"""Hold exact sums to sums of fractions, in any order."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.statistics import exact
from penstock_dataprep.statistics.exact import exact_sums


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40))
def test_floats_are_summed_exactly(values: list[float]) -> None:
    fractions = [Fraction(value) for value in values]
    assert exact_sums(np.array(values, np.float32)) == (sum(fractions), sum(value**2 for value in fractions))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_integers_are_summed_exactly(values: list[int]) -> None:
    assert exact_sums(np.array(values, np.int64)) == (sum(values), sum(value**2 for value in values))


@pytest.mark.parametrize("extreme", [np.float32(3.4e38), np.float32(2**24 - 1), -(2**63), 2**63 - 1])
def test_as_many_extremes_as_are_summed_at_a_time(extreme: float, monkeypatch: pytest.MonkeyPatch) -> None:
    dtype = np.float32 if isinstance(extreme, np.float32) else np.int64
    rows = exact.ROWS + 3
    one = Fraction(float(extreme)) if dtype is np.float32 else Fraction(extreme)
    assert exact_sums(np.full(rows, extreme, dtype)) == (one * rows, one**2 * rows)
