"""Hold the choice of storage widths to its truth table, at and on both sides of each limit."""

import pytest

from penstock_shared.layout import (
    WIDTH_BYTES,
    Column,
    RecordLayout,
    narrowest_integer,
    narrowest_length,
    scalar_row_bytes,
)


@pytest.mark.parametrize(
    ("smallest", "largest", "storage"),
    [
        (0, 0, "u8"),
        (0, 255, "u8"),
        (0, 256, "u16"),
        (0, 2**16 - 1, "u16"),
        (0, 2**16, "u24"),
        (0, 2**24 - 1, "u24"),
        (0, 2**24, "u32"),
        (5, 2**32 - 1, "u32"),
        (0, 2**32, "i64"),
        (-1, 0, "i64"),
        (-1, 2**63 - 1, "i64"),
        (-(2**63), 2**63 - 1, "i64"),
    ],
)
def test_the_narrowest_storage_of_integers(smallest: int, largest: int, storage: str) -> None:
    assert narrowest_integer(smallest, largest) == storage


@pytest.mark.parametrize(("smallest", "largest"), [(0, 2**63), (-(2**63) - 1, 0)])
def test_integers_past_64_bits_have_no_storage(smallest: int, largest: int) -> None:
    with pytest.raises(ValueError, match="do not fit int64"):
        narrowest_integer(smallest, largest)


@pytest.mark.parametrize(
    ("largest", "storage"), [(0, "u8"), (255, "u8"), (256, "u16"), (2**16, "u24"), (2**24, "u32"), (2**32 - 1, "u32")]
)
def test_the_narrowest_storage_of_list_lengths(largest: int, storage: str) -> None:
    assert narrowest_length(largest) == storage


def test_a_longer_list_has_no_storage() -> None:
    with pytest.raises(ValueError, match=r"a list of 4294967296 values is longer than 2\^32 - 1"):
        narrowest_length(2**32)


@pytest.mark.parametrize(
    ("columns", "row_bytes"),
    [
        ((), 0),
        ((Column(name="a", storage="u24"),), 3),
        ((Column(name="a", storage="f16", nullable=True),), 2 + 1 / 8),
        ((Column(name="a", storage="i64", lengths="u16"),), 2),
        ((Column(name="a", storage="u8"), Column(name="b", storage="f32"), Column(name="c", storage="i64")), 13),
    ],
)
def test_bytes_of_a_row(columns: tuple[Column, ...], row_bytes: float) -> None:
    assert scalar_row_bytes(columns) == row_bytes


def test_every_storage_has_a_width() -> None:
    assert WIDTH_BYTES == {"u8": 1, "u16": 2, "u24": 3, "u32": 4, "i64": 8, "f16": 2, "bf16": 2, "f32": 4}


@pytest.mark.parametrize(("rows", "valid"), [(0, False), (1, True), (8192, True), (2**24, True), (2**24 + 1, False)])
def test_rows_per_block_has_limits(rows: int, valid: bool) -> None:
    if valid:
        assert RecordLayout(kind="blocks", rows_per_block=rows).rows_per_block == rows
    else:
        with pytest.raises(ValueError, match="rows_per_block"):
            RecordLayout(kind="blocks", rows_per_block=rows)
