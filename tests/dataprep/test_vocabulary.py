"""Hold counting, ranking and numbering to a plain-Python reference, also when cut into partitions and shards."""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import Built, build, plain_log, plain_spec, ranked, vocabulary_tokens, write_parquet

from penstock_dataprep.order.hashing import fingerprint_tokens
from penstock_dataprep.spec.columns import VocabularySpec
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.verify.dataset import verify
from penstock_dataprep.vocabularies import coding, counting, lookup, numbering, vocabulary
from penstock_dataprep.vocabularies.coding import code_tokens
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_shared import DataRefused

INTEGERS = st.one_of(st.integers(-3, 12), st.integers(-(2**63), 2**63 - 1))
TEXTS = st.one_of(st.sampled_from(["", "a", "b", "ab", "é", "z", "\U0001f600"]), st.text(max_size=5))
BATCHES = st.one_of(
    st.lists(st.lists(st.one_of(st.none(), INTEGERS), max_size=30), min_size=1, max_size=4),
    st.lists(st.lists(st.one_of(st.none(), TEXTS), max_size=30), min_size=1, max_size=4),
)


def number(batches: list[list[Any]], rules: VocabularySpec, bits: int, scratch: Scratch) -> Numbering:
    """Take batches of values through the steps of the pipeline, without Beam."""
    is_text = any(isinstance(value, str) for value in itertools.chain(*batches))
    partitions: dict[int, list[pa.RecordBatch]] = {}
    for values in batches:
        coded = code_tokens(pa.array(values, pa.string() if is_text else pa.int64()))
        counts = counting.count_codes(coded.codes, len(coded.tokens), None)
        table = counting.count_table(coded.tokens, pa.array(coded.hashes), pa.array(coded.checks), counts)
        edges = itertools.pairwise(counting.partition_edges(coded.hashes, bits).tolist())
        for partition, (start, stop) in enumerate(edges):
            partitions.setdefault(partition, []).append(table.slice(start, stop - start))
    assert len(partitions) == 2**bits
    merged: list[vocabulary.Merged] = []
    for partition, tables in partitions.items():
        summed = counting.merge_counts(tables)
        shared = counting.shared_hashes(summed.column("hash").to_numpy())
        admitted, below = counting.admit(summed, rules)
        keys = vocabulary.sample_keys(admitted)
        merged.append(vocabulary.Merged("x", partition, admitted.num_rows, below, 0, keys, shared))
        scratch.write_batches(merged[-1].file, [admitted])
    splitters = vocabulary.choose_splitters(merged)
    dealt: dict[int, list[pa.RecordBatch]] = {}
    for held in merged:
        table = scratch.read_batch(held.file)
        for number_of_range, rows in vocabulary.cut_by_range(table, splitters).items():
            dealt.setdefault(number_of_range, []).append(table.take(pa.array(rows)))
    ranges = []
    for number_of_range, tables in dealt.items():
        table = vocabulary.sort_range(tables)
        ranges.append(vocabulary.Range.of("x", number_of_range, table, vocabulary.all_shared(merged)))
        scratch.write_batches(ranges[-1].file, [table])
        ranks = vocabulary.cut_by_hash(vocabulary.rank_table(table), numbering.index_bits(merged, None))
        scratch.write_batches(ranges[-1].ranks_file, ranks)
    return numbering.number("x", rules, "string" if is_text else "int64", ("x",), merged, ranges, None, scratch)


SMALL = {
    (counting, "TOKENS_PER_PARTITION"): 16,
    (counting, "TOKENS_PER_TABLE"): 16,
    (vocabulary, "TOKENS_PER_RANGE"): 7,
    (vocabulary, "KEYS_PER_PARTITION"): 5,
    (numbering, "TOKENS_PER_SHARD"): 64,
    (numbering, "TOKENS_PER_BLOCK"): 10,
}
REAL = {place: getattr(*place) for place in SMALL}


@contextmanager
def sizes(chosen: dict[tuple[ModuleType, str], int]) -> Iterator[None]:
    """Set how many tokens partitions, ranges, files and blocks hold."""
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), value in chosen.items():
            patch.setattr(module, name, value)
        yield


@pytest.fixture(scope="module", autouse=True)
def cut_into_small_pieces() -> Iterator[None]:
    with sizes(SMALL):
        yield


@settings(max_examples=80)
@given(BATCHES, st.integers(1, 4), st.one_of(st.none(), st.integers(1, 6)), st.integers(0, 3))
def test_ids_are_those_of_plain_python(
    batches: list[list[Any]], min_count: int, max_size: int | None, bits: int
) -> None:
    rules = VocabularySpec(min_count=min_count, max_size=max_size, oov_buckets=3)
    values = [value for batch in batches for value in batch]
    expected = ranked(values, min_count, max_size)
    with TemporaryDirectory() as folder:
        scratch = Scratch(folder)
        held = number(batches, rules, bits, scratch)
        found = numbering.read_pieces(held.pieces, scratch) if held.pieces else None
        pairs = [] if found is None else list(zip(found["token"].to_pylist(), found["count"].to_pylist(), strict=True))
        assert pairs == expected
        assert (held.tokens, held.size) == (len(expected), len(expected) + 5)
        assert held.counted == sum(value is not None for value in values)
        assert held.covered == sum(count for _, count in expected)
        for partition in range(2**held.index_bits):
            lookup.write_index(held, partition, scratch)
        asked = code_tokens(pa.array(values, pa.string() if held.token_dtype == "string" else pa.int64()))
        ids = lookup.find_ids(held, asked.tokens, asked.hashes, scratch)
        places = {token: place + 5 for place, (token, _) in enumerate(expected)}
        assert ids.tolist() == [places.get(token, 0) for token in asked.tokens.to_pylist()]


def counted(tokens: pa.Array, counts: np.ndarray) -> pa.RecordBatch:
    """Return a count table of distinct tokens."""
    hashes, checks = fingerprint_tokens(tokens)
    return counting.count_table(tokens, pa.array(hashes), pa.array(checks), counts)


ROWS = st.lists(st.tuples(st.integers(1, 4), TEXTS), max_size=60, unique_by=lambda row: row[1])


@given(ROWS, st.lists(st.tuples(st.integers(1, 5), TEXTS), max_size=4))
def test_ranges_follow_each_other_wherever_they_are_cut(
    rows: list[tuple[int, str]], keys: list[tuple[int, str]]
) -> None:
    def rank(row: tuple[int, str]) -> tuple[int, bytes]:
        return -row[0], row[1].encode()

    tokens = pa.array([token for _, token in rows], pa.string())
    table = counted(tokens, np.array([count for count, _ in rows], np.int64))
    cut = vocabulary.cut_by_range(table, sorted(keys, key=rank))
    found = []
    for number_of_range in sorted(cut):
        ordered = vocabulary.sort_range([table.take(pa.array(cut[number_of_range]))])
        found += zip(ordered["count"].to_pylist(), ordered["token"].to_pylist(), strict=True)
    assert found == sorted(rows, key=rank)


@pytest.mark.parametrize(("tokens", "bits"), [(0, 0), (1, 0), (16, 0), (17, 1), (32, 1), (33, 2), (1000, 6)])
def test_partitions_are_of_bounded_size(tokens: int, bits: int) -> None:
    assert counting.partition_bits(tokens, counting.TOKENS_PER_PARTITION) == bits


@settings(max_examples=60)
@given(BATCHES, st.integers(1, 3), st.one_of(st.none(), st.integers(1, 6)), st.integers(0, 2), st.integers(1, 4))
def test_tokens_that_share_a_hash_keep_ids_of_their_own(
    batches: list[list[Any]], min_count: int, max_size: int | None, bits: int, hashes: int
) -> None:
    def few_hashes(tokens: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        found, checks = fingerprint_tokens(tokens)
        # Integers have distinct hashes by nature, and so no checks.
        return found if pa.types.is_integer(tokens.type) else found % np.uint64(hashes) << np.uint64(62), checks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coding, "fingerprint_tokens", few_hashes)
        test_ids_are_those_of_plain_python.hypothesis.inner_test(batches, min_count, max_size, bits)


def test_batches_without_a_token_count_to_nothing() -> None:
    nothing = counted(pa.array([], pa.string()), np.zeros(0, np.int64))
    assert counting.merge_counts([nothing, nothing]).num_rows == 0
    assert vocabulary.cut_by_range(nothing, [(3, "a")]) == {}
    assert vocabulary.sample_keys(nothing) == ()
    assert vocabulary.choose_splitters([vocabulary.Merged("x", 0, 0, 0, 0, ())]) == []


@pytest.mark.parametrize("mask", [None, [True, False, True, True]])
def test_nulls_and_masked_values_are_not_counted(mask: list[bool] | None) -> None:
    codes = np.array([0, 0, -1, 2])
    counts = counting.count_codes(codes, 4, None if mask is None else np.array(mask))
    assert counts.tolist() == ([2, 0, 1, 0] if mask is None else [1, 0, 1, 0])


@pytest.fixture(scope="module")
def cut_small(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, Built, Built]:
    """Build one log as it is, and cut into many partitions, vocabulary files and blocks."""
    folder = tmp_path_factory.mktemp("vocabulary")
    log = plain_log(3000, seed=8, users=900)
    document = plain_spec(write_parquet(log, folder / "log", files=3))
    document["columns"] = {
        **document["columns"],
        "user_id": {"role": "user", "vocabulary": {"of": "all", "max_size": 700}},
    }
    with sizes(REAL):
        whole = build(document, folder / "whole")
    return log, whole, build(document, folder / "cut")


def test_partitions_and_files_do_not_change_ids(cut_small: tuple[pa.Table, Built, Built]) -> None:
    log, whole, cut = cut_small
    expected = ranked(log["user_id"].to_pylist(), max_size=700)
    for built in (whole, cut):
        assert vocabulary_tokens(built, "user_id") == expected
        verify(built.manifest, str(built.path))
    assert [shard.crc32c for shard in whole.manifest.splits["train"].shards] == [
        shard.crc32c for shard in cut.manifest.splits["train"].shards
    ]
    assert [shard.tokens for shard in cut.manifest.vocabularies["user_id"].shards] == [64] * 10 + [60]


def test_counted_values_and_coverage(cut_small: tuple[pa.Table, Built, Built]) -> None:
    log, whole, cut = cut_small
    counts = Counter(log["user_id"].to_pylist())
    covered = sum(count for _, count in ranked(log["user_id"].to_pylist(), max_size=700))
    for built in (whole, cut):
        held = built.manifest.vocabularies["user_id"]
        assert (held.counted_values, held.tokens) == (counts.total(), 700)
        assert held.coverage == pytest.approx(covered / counts.total(), abs=1e-9)
        assert built.manifest.features[0].statistics.oov == counts.total() - covered


def test_too_many_ids_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbering, "LARGEST_SIZE", 10)
    with pytest.raises(DataRefused, match=r"columns\.x\.vocabulary: 8 tokens do not fit int32 ids; raise min_count"):
        number([list(range(8))], VocabularySpec(), 0, Scratch(str(tmp_path)))
