"""Hold the vectorised hash to the reference in penstock_shared.tokens, and both to golden values."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.order import hashing
from penstock_shared.tokens import hash_token
from penstock_shared.tokens import mix64 as reference_mix64

# Out-of-vocabulary ids of every published dataset and exported model rest on these values.
GOLDEN = {
    0: 0x0000000000000000,
    1: 0xB456BCFC34C2CB2C,
    -1: 0x64B5720B4B825F21,
    2**63 - 1: 0xABB93DF0A930EDEA,
    "": 0x0000000000000000,
    "u1": 0x944F118B3BD94715,
    "abcdefgh": 0x5703D967CE54928F,
    "abcdefghi": 0x8E2ADBE6D43A4551,
    "Ἑλλάς": 0x72636FCEA262CA2C,
}


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_integers_hash_as_in_the_reference(tokens: list[int]) -> None:
    hashes = hashing.hash_tokens(pa.array(tokens, pa.int64()))
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [hash_token(token) for token in tokens]


@pytest.mark.parametrize("string_type", [pa.string(), pa.large_string()])
@given(tokens=st.lists(st.text(max_size=40), max_size=30))
def test_strings_hash_as_in_the_reference(string_type: pa.DataType, tokens: list[str]) -> None:
    hashes = hashing.hash_tokens(pa.array(tokens, string_type))
    assert hashes.tolist() == [hash_token(token) for token in tokens]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=20), st.data())
def test_a_slice_hashes_as_its_tokens(tokens: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(tokens)))
    stop = data.draw(st.integers(start, len(tokens)))
    hashes = hashing.hash_tokens(pa.array(tokens, pa.string()).slice(start, stop - start))
    assert hashes.tolist() == [hash_token(token) for token in tokens[start:stop]]
    offsets, content = hashing.string_buffers(pa.array(tokens, pa.string()).slice(start, stop - start))
    encoded = [token.encode() for token in tokens[start:stop]]
    assert content.tobytes() == b"".join(encoded)
    assert offsets.tolist() == [sum(map(len, encoded[:end])) for end in range(len(encoded) + 1)]


def test_hashing_does_not_change_its_input() -> None:
    tokens = pa.array([1, 2, 3], pa.int64())
    hashing.hash_tokens(tokens)
    assert tokens.to_pylist() == [1, 2, 3]


def test_long_arrays_are_mixed_to_the_end() -> None:
    words = np.arange(2 * hashing.CHUNK + 3, dtype=np.uint64)
    hashing.mix64(words)
    assert len(np.unique(words)) == len(words)
    for place in (0, hashing.CHUNK - 1, hashing.CHUNK, 2 * hashing.CHUNK + 2):
        assert words[place] == reference_mix64(place)


@pytest.mark.parametrize(("token", "expected"), GOLDEN.items())
def test_golden_hashes(token: int | str, expected: int) -> None:
    assert hash_token(token) == expected
    assert hashing.hash_tokens(pa.array([token])).tolist() == [expected]
