"""Hold the widening of columns to its truth table."""

from typing import Any

import pytest

from penstock_dataprep.design import widen
from penstock_shared import Column


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("u8", "u24", "u24"),
        ("u32", "i64", "i64"),
        ("u8", "f16", "f16"),
        ("u8", "bf16", "bf16"),
        ("u16", "f16", "f32"),
        ("f16", "bf16", "f32"),
        ("f32", "u8", "f32"),
        ("u24", "u24", "u24"),
    ],
)
def test_a_column_widens_to_what_holds_both(one: Any, other: Any, both: str) -> None:
    for left, right in ((one, other), (other, one)):
        assert widen(Column(name="x", storage=left), Column(name="x", storage=right)).storage == both
    lists = widen(Column(name="x", storage=one, lengths="u8"), Column(name="x", storage=other, lengths="u24"))
    assert lists.lengths == "u24"
    assert widen(Column(name="x", storage=one, nullable=True), Column(name="x", storage=other)).nullable
