"""Pin the reserved ids and the token hash, which every dataset and exported model share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_shared import tokens


def test_reserved_ids() -> None:
    assert (tokens.PADDING_ID, tokens.NULL_ID, tokens.FIRST_OOV_ID) == (0, 1, 2)
    assert [tokens.first_token_id(oov_buckets) for oov_buckets in (1, 2, 100)] == [3, 4, 102]


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        # 1 and -1 are test values of MurmurHash3's 64-bit finaliser.
        (1, 0xB456BCFC34C2CB2C),
        (-1, 0x64B5720B4B825F21),
        (0, 0),
        ("", 0),
        ("u1", 0x944F118B3BD94715),
        ("abcdefgh", 0x5703D967CE54928F),
        ("abcdefghi", 0x8E2ADBE6D43A4551),
    ],
)
def test_golden_hashes(token: int | str, expected: int) -> None:
    assert tokens.hash_token(token) == expected


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_mixing_is_one_to_one(one: int, other: int) -> None:
    assert (tokens.mix64(one) == tokens.mix64(other)) == (one == other)
    assert 0 <= tokens.mix64(one) < 2**64


def test_length_and_padding_count() -> None:
    spellings = ["", "\0", "\0\0", "a", "a\0", "a" * 8, "a" * 8 + "\0", "a" * 9]
    assert len({tokens.hash_token(spelling) for spelling in spellings}) == len(spellings)


@pytest.mark.parametrize(
    ("token_hash", "oov_buckets", "expected"),
    [(0, 1, 2), (2**64 - 1, 1, 2), (1, 7, 2), (2, 7, 3), (14, 7, 2), (2**64 - 1, 10, 2 + (2**63 - 1) % 10)],
)
def test_buckets(token_hash: int, oov_buckets: int, expected: int) -> None:
    assert tokens.oov_id(token_hash, oov_buckets) == expected


def test_buckets_are_evenly_filled() -> None:
    chosen = [tokens.oov_id(tokens.hash_token(f"u{number}"), 8) for number in range(8_000)]
    assert sorted(set(chosen)) == list(range(2, 10))
    assert all(850 < chosen.count(bucket) < 1150 for bucket in range(2, 10))
