"""Hold the token index and the sort of words to plain Python, on hashes as bad as can be."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.order.sorting import SORTS
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.token_index import ABSENT, Table, TokenIndex

ANY = st.integers(0, 2**64 - 1)
# Hashes that share their high bits have one home: the longest searches there are.
CLUSTERED = st.builds(
    lambda high, low: (high << 40) | low, st.sampled_from([0, 1, 2**23, 2**24 - 1]), st.integers(0, 300)
)
HASHES = st.lists(st.one_of(ANY, CLUSTERED, st.sampled_from([0, 1, 2**63, 2**64 - 1])), max_size=60)


@given(HASHES, HASHES, st.sampled_from([0, 1, 3]))
def test_finds_what_is_there_and_nothing_else(held: list[int], asked: list[int], bits: int) -> None:
    values = {key: place + 1 for place, key in enumerate(dict.fromkeys(held))}
    with TemporaryDirectory() as folder:
        index = TokenIndex(Scratch(folder), "index/x", bits)
        for partition in range(2**bits):
            members = [key for key in values if key >> (64 - bits) == partition]
            index.write(partition, np.array(members, np.uint64), np.array([values[key] for key in members], np.int64))
        found = index.find(np.array(sorted(held + asked), np.uint64))
    assert found.tolist() == [values.get(key, ABSENT) for key in sorted(held + asked)]


@pytest.mark.parametrize("keys", [[], [0], [2**64 - 1], [5], list(range(2**64 - 50, 2**64)), list(range(50))])
def test_edges_of_a_table(keys: list[int]) -> None:
    table = Table.build(np.array(keys, np.uint64), np.arange(1, len(keys) + 1), 0)
    assert table.find(np.array(keys, np.uint64)).tolist() == list(range(1, len(keys) + 1))
    others = [key for key in (0, 1, 2**63, 2**64 - 51, 2**64 - 1) if key not in keys]
    assert table.find(np.array(others, np.uint64)).tolist() == [ABSENT] * len(others)
    assert table.find(np.zeros(0, np.uint64)).tolist() == []


def test_many_hashes_and_the_largest_value_come_back_from_files(tmp_path: Path) -> None:
    keys = np.unique(np.random.default_rng(1).integers(0, 2**64, 200_000, dtype=np.uint64))
    values = 2**31 - 1 - np.arange(len(keys[::2]))
    index = TokenIndex(Scratch(str(tmp_path)), "index/x", bits=2)
    for partition in range(4):
        members = keys[::2] >> np.uint64(62) == partition
        index.write(partition, keys[::2][members], values[members])
    np.testing.assert_array_equal(index.find(keys[::2]), values)
    assert not index.find(keys[1::2]).any()


def test_tables_of_a_remote_folder_are_fetched_once_and_removed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scratch = Scratch(f"memory://{tmp_path.name}/scratch")
    index = TokenIndex(scratch, "index/x", bits=0)
    hashes = np.array([3, 2**63], np.uint64)
    index.write(0, hashes, np.array([7, 8]))
    assert index.find(hashes).tolist() == [7, 8]
    scratch.clear()
    assert index.find(hashes).tolist() == [7, 8]
    assert list(tmp_path.rglob("*.keys"))
    scratch.remove()
    assert not list(tmp_path.rglob("*.keys"))


@pytest.mark.parametrize("way", SORTS)
@given(words=st.one_of(HASHES, st.lists(CLUSTERED, max_size=200)))
def test_words_are_sorted(way: str, words: list[int]) -> None:
    array = np.array(words, np.uint64)
    order, ordered = SORTS[way](array)
    assert order.tolist() == np.argsort(array, kind="stable").tolist()
    assert ordered.tolist() == sorted(words)


@pytest.mark.parametrize("way", SORTS)
@pytest.mark.parametrize("spread", [1, 2**16, 2**32, 2**33, 2**48, 2**64])
def test_many_words_are_sorted_whatever_their_spread(way: str, spread: int) -> None:
    rng = np.random.default_rng(2)
    words = rng.integers(0, spread, 100_000, dtype=np.uint64) + np.uint64(min(2**63, 2**64 - spread))
    order, ordered = SORTS[way](words)
    np.testing.assert_array_equal(order, np.argsort(words, kind="stable"))
    np.testing.assert_array_equal(words[order], ordered)
