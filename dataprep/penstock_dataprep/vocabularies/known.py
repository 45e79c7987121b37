"""Go on from a parent's vocabulary: its tokens keep their ids, and counts of the new rows are added to theirs."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.order.hashing import fingerprint_tokens
from penstock_dataprep.order.sorting import argsort_words
from penstock_dataprep.records.blocks import Values, decode_block
from penstock_dataprep.records.tfrecord import unframe
from penstock_dataprep.storage.files import join
from penstock_dataprep.verify.files import read_verified
from penstock_dataprep.vocabularies.counting import count_table, shared_hashes
from penstock_shared.vocabularies import Vocabulary

EMPTY = np.zeros(0, np.int64)


def read_tokens(vocabulary: Vocabulary, position: int, base: str) -> pa.RecordBatch:
    """Return the (token, hash, check, count, rank) rows of one file of a vocabulary in dataset folder `base`.

    The rank counts from 0 over all files. Raises DataRefused for a file that is not as its entry says.
    """
    shard = vocabulary.shards[position]
    path = join(base, shard.path)
    tokens, counts = [], [EMPTY]
    for offset, payload in unframe(read_verified(base, shard), path):
        _, (token, count) = decode_block(vocabulary.columns, payload, f"{path}: the record at byte {offset}")
        tokens.append(to_array(token))
        counts.append(count.numbers)
    merged = pa.concat_arrays(tokens)
    first = sum(before.tokens for before in vocabulary.shards[:position])
    hashes, checks = fingerprint_tokens(merged)
    table = count_table(merged, pa.array(hashes), pa.array(checks), np.concatenate(counts))
    ranks = pa.array(np.arange(first, first + len(merged), dtype=np.uint32))
    return pa.RecordBatch.from_arrays([*table.columns, ranks], names=[*table.schema.names, "rank"])


def to_array(token: Values) -> pa.Array:
    """Return a vocabulary's decoded tokens as an int64 or string array."""
    if token.lengths is None:
        return pa.array(token.numbers.astype(np.int64))
    offsets = np.append(0, np.cumsum(token.lengths, dtype=np.int64)).astype(np.int32)
    return pa.StringArray.from_buffers(
        len(token.lengths), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(token.numbers))
    )


def part(counted: pa.RecordBatch, known: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch, tuple[int, ...]]:
    """Part the counts of one hash partition into those of new tokens, and (rank, count) of the known ones by rank.

    Also returns the hashes that several of all these tokens have. `counted` is in the order of hashes.
    """
    known = known.take(pa.array(argsort_words(known.column("hash").to_numpy())))
    hashes, known_hashes = counted.column("hash").to_numpy(), known.column("hash").to_numpy()
    at = np.searchsorted(known_hashes, hashes)
    at[at == len(known_hashes)] = 0
    is_known = known_hashes[at] == hashes if len(known_hashes) else np.zeros(len(hashes), bool)
    checks, known_checks = counted.column("check").to_numpy(), known.column("check").to_numpy()
    shared = shared_hashes(hashes) + shared_hashes(known_hashes)
    if shared or (checks[is_known] != known_checks[at[is_known]]).any():
        places = pc.index_in(counted.column("token"), value_set=known.column("token"))
        is_known = places.is_valid().to_numpy(zero_copy_only=False)
        at = places.fill_null(0).to_numpy(zero_copy_only=False)
        shared = shared_hashes(np.sort(np.concatenate([hashes[~is_known], known_hashes])))
    ranks = known.column("rank").take(pa.array(at[is_known]))
    old = counted.column("count").filter(pa.array(is_known))
    added = pa.RecordBatch.from_arrays([ranks, old], names=["rank", "count"])
    return counted.filter(pa.array(~is_known)), added.take(pc.sort_indices(ranks)), shared


def add_counts(table: pa.RecordBatch, added: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the (token, hash, check, count) rows of read_tokens with the counts of `added`, each in order of rank."""
    counts = table.column("count").to_numpy().copy()
    first = table.column("rank")[0].as_py()
    for batch in added:
        ranks = batch.column("rank").to_numpy()
        start, stop = np.searchsorted(ranks, [first, first + len(counts)])
        counts[ranks[start:stop] - first] += batch.column("count").to_numpy()[start:stop]
    return count_table(table.column("token"), table.column("hash"), table.column("check"), counts)
