"""Hold the parting and adding of counts of known tokens to plain Python."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.order.hashing import fingerprint_tokens
from penstock_dataprep.vocabularies import known
from penstock_dataprep.vocabularies.counting import count_table, merge_counts
from penstock_dataprep.vocabularies.vocabulary import cut_by_hash

TOKENS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=60),
    st.lists(st.text(max_size=12), unique=True, max_size=60),
)


@given(TOKENS, st.integers(0, 3), st.randoms(use_true_random=False))
def test_counts_are_parted_and_added_as_a_dict_would(tokens: list[Any], bits: int, random: Any) -> None:
    kind = pa.string() if tokens and isinstance(tokens[0], str) else pa.int64()
    held = random.sample(tokens, random.randint(0, len(tokens)))
    counted = random.sample(tokens, random.randint(0, len(tokens)))
    old = {token: random.randint(1, 9) for token in held}
    new = {token: random.randint(1, 9) for token in counted}

    def table(counts: dict[Any, int]) -> pa.RecordBatch:
        array = pa.array(list(counts), kind)
        hashes, checks = fingerprint_tokens(array)
        return count_table(array, pa.array(hashes), pa.array(checks), np.array(list(counts.values()), np.int64))

    ranks = pa.array(np.arange(len(old), dtype=np.uint32))
    ranked_table = table(old).append_column("rank", ranks)
    parts = [
        known.part(merge_counts([counts]), held_counts)[:2]
        for counts, held_counts in zip(cut_by_hash(table(new), bits), cut_by_hash(ranked_table, bits), strict=True)
    ]
    fresh: dict[Any, int] = {}
    for part, _ in parts:
        fresh |= zip(part.column("token").to_pylist(), part.column("count").to_pylist(), strict=True)
    assert fresh == {token: count for token, count in new.items() if token not in old}
    for start in range(0, len(held), 7):
        piece = known.add_counts(ranked_table.slice(start, 7), [added for _, added in parts])
        assert piece.column("token").to_pylist() == held[start : start + 7]
        summed = [old[token] + new.get(token, 0) for token in held[start : start + 7]]
        assert piece.column("count").to_pylist() == summed


def test_a_new_token_with_the_hash_of_a_known_one_is_new() -> None:
    hashes = pa.array([5, 5], pa.uint64())
    tokens, checks = pa.array(["new", "old"]), pa.array([1, 2], pa.uint32())
    counted = count_table(tokens, hashes, checks, np.array([3, 4]))
    held = counted.slice(1).append_column("rank", pa.array([9], pa.uint32()))
    fresh, added, shared = known.part(counted, held)
    assert fresh.to_pylist() == [{"token": "new", "hash": 5, "check": 1, "count": 3}]
    assert added.to_pylist() == [{"rank": 9, "count": 4}]
    assert shared == (5,)
    assert known.part(counted.slice(0, 1), held)[2] == (5,)
