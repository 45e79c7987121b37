"""Build a vocabulary of many tokens from a log in which each occurs twice, and look ids up in it.

A Python dict of the tokens stands beside the lookup, at a size that it can hold.

    python benchmarks/vocabulary.py [--tokens 100_000_000] [--folder FOLDER]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from prepare import OURS, folder_bytes, run

from penstock_dataprep.order.hashing import hash_tokens, mix64
from penstock_dataprep.order.sorting import argsort_words
from penstock_dataprep.records.blocks import decode_block
from penstock_dataprep.records.tfrecord import unframe
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.counting import TOKENS_PER_TABLE, partition_bits, partition_edges
from penstock_dataprep.vocabularies.token_index import TokenIndex
from penstock_shared import load_manifest
from penstock_shared.tokens import first_token_id
from penstock_shared.vocabularies import Vocabulary

MEMORY_TARGET_GIB, LOOKUP_TARGET = 16, 5_000_000
ROWS_PER_FILE = 1 << 22
DICT_TOKENS = 2_000_000
QUERIES = 4_000_000
SPEC = """
name: vocabulary
source: {{files: {log}/*.parquet, format: parquet}}
columns:
  user_id: {{role: user, vocabulary: {{of: all}}}}
  timestamp: {{role: time}}
split: {{by: time, test_fraction: 0.1}}
"""


def main() -> None:
    """Make the log, build, look up, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=arguments.folder))
    try:
        measure(folder, arguments.tokens)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, tokens: int) -> None:
    """Build a dataset of 2 x `tokens` rows in `folder`, and time its vocabulary."""
    log, spec, out = folder / "log", folder / "spec.yaml", folder / "out"
    write_log(log, tokens)
    print(f"a log of {2 * tokens:,} rows, {folder_bytes(log) / 2 / tokens:.1f} bytes/row", flush=True)
    spec.write_text(SPEC.format(log=log))
    built = run([*OURS, "build", str(spec), "--out", str(out)])
    path = Path(built.output.splitlines()[-1])
    manifest = load_manifest(path.read_bytes(), str(path))
    vocabulary = manifest.vocabularies["user_id"]
    if vocabulary.tokens != tokens:
        raise SystemExit(f"{vocabulary.tokens:,} tokens in the vocabulary, expected {tokens:,}")
    memory_gib = built.memory_bytes / 2**30
    print(f"built and used in {built.seconds:,.0f} s, {2 * tokens / built.seconds:,.0f} rows/s", flush=True)
    print(f"peak memory    {memory_gib:.2f} GiB  (target: at most {MEMORY_TARGET_GIB} GiB)", flush=True)
    ours = lookups_per_second(vocabulary, path.parent.parent, Scratch(str(folder / "scratch")))
    theirs = dict_lookups_per_second()
    print(f"lookups        {ours:,.0f} ids/s on one core  (target: at least {LOOKUP_TARGET:,})")
    print(f"Python dict    {theirs:,.0f} ids/s at {DICT_TOKENS:,} tokens; ratio {ours / theirs:.1f}")


def write_log(folder: Path, tokens: int) -> None:
    """Write 2 x `tokens` rows: every token once, and then every token again, as decimals of scrambled numbers."""
    folder.mkdir()
    for number, start in enumerate(range(0, 2 * tokens, ROWS_PER_FILE)):
        rows = np.arange(start, min(start + ROWS_PER_FILE, 2 * tokens))
        table = pa.table({"user_id": token_of(rows % tokens), "timestamp": pa.array(rows // 10 + 1_600_000_000)})
        pq.write_table(table, folder / f"part-{number:05d}.parquet", row_group_size=1 << 20, use_dictionary=False)


def token_of(numbers: np.ndarray) -> pa.Array:
    """Return the token of each number: a bijection, so that different numbers are different tokens."""
    words = numbers.astype(np.uint64)
    mix64(words)
    return pa.array(words).cast(pa.string())


def lookups_per_second(vocabulary: Vocabulary, base: Path, scratch: Scratch) -> float:
    """Return how many hashes in no order one thread sorts and looks up in a second, half of them known."""
    hashes = []
    for shard in vocabulary.shards:
        for _, payload in unframe((base / shard.path).read_bytes(), shard.path):
            _, (token, _) = decode_block(vocabulary.columns, payload, shard.path)
            ends = np.append(0, np.cumsum(token.lengths, dtype=np.int64))
            buffers = [None, pa.py_buffer(ends), pa.py_buffer(token.numbers)]
            hashes.append(hash_tokens(pa.Array.from_buffers(pa.large_string(), len(ends) - 1, buffers)))
    known = np.concatenate(hashes)
    ids = np.arange(len(known)) + first_token_id(vocabulary.oov_buckets)
    index = TokenIndex(scratch, "index", partition_bits(len(known), TOKENS_PER_TABLE))
    order = argsort_words(known)
    edges = partition_edges(known[order], index.bits)
    for partition in range(1 << index.bits):
        members = order[edges[partition] : edges[partition + 1]]
        index.write(partition, known[members], ids[members])
    rng = np.random.default_rng(1)
    picked = rng.integers(0, len(known), QUERIES // 2)
    queries = np.concatenate([known[picked], rng.integers(0, 2**63, QUERIES // 2).astype(np.uint64)])
    index.find(np.sort(queries))
    started = time.perf_counter()
    found = np.empty(QUERIES, np.int64)
    order = argsort_words(queries)
    found[order] = index.find(queries[order])
    seconds = time.perf_counter() - started
    if not np.array_equal(found[: QUERIES // 2], ids[picked]):
        raise SystemExit("the index does not find the ids it was made of")
    return QUERIES / seconds


def dict_lookups_per_second() -> float:
    """Return how many tokens a Python dict looks up in a second."""
    tokens = token_of(np.arange(DICT_TOKENS)).to_pylist()
    table = {token: number for number, token in enumerate(tokens)}
    queries = token_of(np.random.default_rng(1).integers(0, 2 * DICT_TOKENS, DICT_TOKENS)).to_pylist()
    started = time.perf_counter()
    for token in queries:
        table.get(token, 0)
    return len(queries) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
