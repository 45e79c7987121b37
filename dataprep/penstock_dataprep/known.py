"""Go on from a parent's vocabulary: its tokens keep their ids, and counts of the new rows are added to theirs."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.blocks import Values, decode_block
from penstock_dataprep.hashing import hash_tokens
from penstock_dataprep.storage import join, read_bytes
from penstock_dataprep.tfrecord import unframe
from penstock_dataprep.token_index import ABSENT, Table
from penstock_dataprep.verify_files import verify_file
from penstock_dataprep.vocabulary import collision, count_table
from penstock_shared.vocabularies import Vocabulary

EMPTY = np.zeros(0, np.int64)


def read_tokens(vocabulary: Vocabulary, position: int, base: str) -> pa.RecordBatch:
    """Return the (token, hash, count, rank) rows of one file of a vocabulary in dataset folder `base`.

    The rank counts from 0 over all files. Raises DataRefused for a file that is not as its entry says.
    """
    shard = vocabulary.shards[position]
    path = join(base, shard.path)
    verify_file(base, shard)
    tokens, counts = [], [EMPTY]
    for offset, payload in unframe(read_bytes(path), path):
        _, (token, count) = decode_block(vocabulary.columns, payload, f"{path}: the record at byte {offset}")
        tokens.append(to_array(token))
        counts.append(count.numbers)
    merged = pa.concat_arrays(tokens)
    first = sum(before.tokens for before in vocabulary.shards[:position])
    table = count_table(merged, hash_tokens(merged), np.concatenate(counts))
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


def part(
    counted: pa.RecordBatch, known: pa.RecordBatch, bits: int, where: str
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Part the counts of one hash partition into those of new tokens, and (rank, count) of the known ones by rank.

    Both batches hold distinct hashes with the same `bits` leading bits. Raises DataRefused when a new token has the
    hash of another, known one.
    """
    index = Table.build(known.column("hash").to_numpy(), np.arange(1, known.num_rows + 1), bits)
    found = index.find(counted.column("hash").to_numpy())
    is_known = found != ABSENT
    at = pa.array(found[is_known] - 1)
    old = counted.filter(pa.array(is_known))
    tokens, same = old.column("token"), known.column("token").take(at)
    differs = np.flatnonzero(pc.not_equal(tokens, same).to_numpy(zero_copy_only=False))
    if len(differs):
        raise collision(where, same[int(differs[0])].as_py(), tokens[int(differs[0])].as_py())
    ranks = known.column("rank").take(at)
    added = pa.RecordBatch.from_arrays([ranks, old.column("count")], names=["rank", "count"])
    return counted.filter(pa.array(~is_known)), added.take(pc.sort_indices(ranks))


def add_counts(table: pa.RecordBatch, added: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the (token, hash, count) rows of read_tokens with the counts that `added` holds, each in order of rank."""
    counts = table.column("count").to_numpy().copy()
    first = table.column("rank")[0].as_py()
    for batch in added:
        ranks = batch.column("rank").to_numpy()
        start, stop = np.searchsorted(ranks, [first, first + len(counts)])
        counts[ranks[start:stop] - first] += batch.column("count").to_numpy()[start:stop]
    return count_table(table.column("token"), table.column("hash").to_numpy(), counts)
