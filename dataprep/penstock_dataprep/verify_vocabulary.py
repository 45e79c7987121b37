"""Check a vocabulary's tokens: as many as claimed, by descending count, ties by ascending token, all distinct."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.blocks import Values, decode_block
from penstock_dataprep.storage import join, read_bytes
from penstock_dataprep.tfrecord import unframe
from penstock_dataprep.verify_files import expect, verify_file
from penstock_shared.errors import DataRefused
from penstock_shared.manifest import Manifest, vocabulary_digest
from penstock_shared.tokens import first_token_id


def verify_vocabulary(manifest: Manifest, base: str, name: str) -> int:
    """Check every claim about a vocabulary and return how many there are. Raises DataRefused naming the file."""
    held = manifest.vocabularies[name]
    last: pa.RecordBatch | None = None
    total = 0
    for shard in held.shards:
        path = join(base, shard.path)
        verify_file(base, shard)
        tokens = 0
        for offset, payload in unframe(read_bytes(path), path):
            rows, (token, count) = decode_block(held.columns, payload, f"{path}: the record at byte {offset}")
            tokens += rows
            entries = _entries(token, count)
            if rows:
                _check_order(entries if last is None else pa.concat_batches([last, entries]), held.min_count, path)
                last = entries.slice(rows - 1)
        expect(path, "tokens", shard.tokens, tokens)
        total += tokens
    where = f"vocabulary {name}"
    expect(where, "tokens", held.tokens, total)
    expect(where, "size", held.size, first_token_id(held.oov_buckets) + total)
    expect(where, "digest", held.digest, vocabulary_digest(held.oov_buckets, held.columns, held.shards))
    return 3 * len(held.shards) + 3


def _entries(token: Values, count: Values) -> pa.RecordBatch:
    tokens: pa.Array
    if token.lengths is None:
        tokens = pa.array(token.numbers.astype(np.int64))
    else:
        ends = np.append(0, np.cumsum(token.lengths, dtype=np.int64))
        content = pa.py_buffer(np.ascontiguousarray(token.numbers))
        tokens = pa.Array.from_buffers(pa.large_binary(), len(token.lengths), [None, pa.py_buffer(ends), content])
    return pa.RecordBatch.from_arrays([tokens, pa.array(count.numbers.astype(np.int64))], names=["token", "count"])


def _check_order(entries: pa.RecordBatch, min_count: int, path: str) -> None:
    """Check each entry against the one before it."""
    tokens, counts = entries.column("token"), entries.column("count").to_numpy()
    if counts.min() < min_count:
        at = int(np.argmin(counts))
        raise DataRefused(f"{path}: token {tokens[at].as_py()!r} has count {counts[at]}, below min_count {min_count}")
    ascends = pc.less(tokens.slice(0, len(tokens) - 1), tokens.slice(1)).to_numpy(zero_copy_only=False)
    is_ordered = (counts[1:] < counts[:-1]) | ((counts[1:] == counts[:-1]) & ascends)
    if not is_ordered.all():
        at = int(np.argmin(is_ordered)) + 1
        before, here = tokens[at - 1].as_py(), tokens[at].as_py()
        raise DataRefused(f"{path}: token {here!r} does not come after {before!r} by count and token")
