"""Check a vocabulary's tokens: number, order, coverage, that all are distinct and kept the ids they had."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.order.hashing import fingerprint_tokens, hash_tokens
from penstock_dataprep.order.sorting import argsort_words
from penstock_dataprep.records.blocks import decode_block
from penstock_dataprep.records.tfrecord import unframe
from penstock_dataprep.statistics.coverage import CountLevels
from penstock_dataprep.statistics.facts import share
from penstock_dataprep.storage.files import exists, join, read_bytes
from penstock_dataprep.verify.files import expect, read_verified
from penstock_dataprep.vocabularies.known import to_array
from penstock_shared.digests import vocabulary_digest
from penstock_shared.errors import DataRefused
from penstock_shared.manifest import MANIFEST_NAME, Manifest, load_manifest
from penstock_shared.tokens import first_token_id
from penstock_shared.vocabularies import Vocabulary


def verify_vocabulary(manifest: Manifest, base: str, name: str) -> tuple[int, np.ndarray]:
    """Check a vocabulary's tokens; return how many claims that is, and each token's count. Raises DataRefused.

    Only the tokens of the newest version are in order. Where the parent's files are still there, its tokens must have
    the ids they had. Coverage is held against the counts and `counted_values`, both of which verify_counts checks.
    """
    held = manifest.vocabularies[name]
    last: pa.RecordBatch | None = None
    hashes: list[np.ndarray] = [np.zeros(0, np.uint64)]
    checks: list[np.ndarray] = [np.zeros(0, np.uint32)]
    counts: list[np.ndarray] = [np.zeros(0, np.int64)]
    levels: list[CountLevels] = []
    total = 0
    for path, entries in _read(held, base):
        _check_counts(entries, held.min_count, path)
        found_hashes, found_checks = fingerprint_tokens(entries.column("token"))
        hashes.append(found_hashes)
        checks.append(found_checks)
        counts.append(entries.column("count").to_numpy())
        levels.append(CountLevels.of(counts[-1]))
        newest = entries.slice(max(0, held.first_ordered - total))
        total += entries.num_rows
        if newest.num_rows:
            _check_order(newest if last is None else pa.concat_batches([last, newest]), path)
            last = newest.slice(newest.num_rows - 1)
    where = f"vocabulary {name}"
    expect(where, "tokens", held.tokens, total)
    if held.max_size is not None and total > held.max_size:
        expect(where, "max_size", held.max_size, total)
    expect(where, "size", held.size, first_token_id(held.oov_buckets) + total)
    expect(where, "digest", held.digest, vocabulary_digest(held.oov_buckets, held.columns, held.shards))
    found = np.concatenate(hashes)
    expect(where, "distinct tokens", total, _count_distinct(found, np.concatenate(checks)))
    merged = CountLevels.merge(levels)
    expect(where, "coverage", held.coverage, share(merged.total, held.counted_values))
    expect(where, "curve", held.curve, merged.curve(held.counted_values))
    claims = 3 * len(held.shards) + 7 + len(held.curve)
    return claims + _check_ids_kept(manifest, base, name, found), np.concatenate(counts)


def _read(held: Vocabulary, base: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield (path, tokens and counts) of each block that holds any."""
    for shard in held.shards:
        path, tokens = join(base, shard.path), 0
        for offset, payload in unframe(read_verified(base, shard), path):
            rows, (token, count) = decode_block(held.columns, payload, f"{path}: the record at byte {offset}")
            tokens += rows
            if rows:
                counts = pa.array(count.numbers.astype(np.int64))
                yield path, pa.RecordBatch.from_arrays([to_array(token), counts], names=["token", "count"])
        expect(path, "tokens", shard.tokens, tokens)


def _count_distinct(hashes: np.ndarray, checks: np.ndarray) -> int:
    """Return how many different pairs there are; hashes alone nearly always tell them apart."""
    order = argsort_words(hashes)
    is_same = hashes[order[1:]] == hashes[order[:-1]]
    tied = order[np.append(is_same, False) | np.append(False, is_same)[: len(order)]] if is_same.any() else order[:0]
    return len(hashes) - len(tied) + len(set(zip(hashes[tied].tolist(), checks[tied].tolist(), strict=True)))


def _check_counts(entries: pa.RecordBatch, min_count: int, path: str) -> None:
    tokens, counts = entries.column("token"), entries.column("count").to_numpy()
    if counts.min() < min_count:
        at = int(np.argmin(counts))
        raise DataRefused(f"{path}: token {tokens[at].as_py()!r} has count {counts[at]}, below min_count {min_count}")


def _check_order(entries: pa.RecordBatch, path: str) -> None:
    """Check each entry against the one before it; Arrow compares strings by their UTF-8 bytes."""
    tokens, counts = entries.column("token"), entries.column("count").to_numpy()
    ascends = pc.less(tokens.slice(0, len(tokens) - 1), tokens.slice(1)).to_numpy(zero_copy_only=False)
    is_ordered = (counts[1:] < counts[:-1]) | ((counts[1:] == counts[:-1]) & ascends)
    if not is_ordered.all():
        at = int(np.argmin(is_ordered)) + 1
        before, here = tokens[at - 1].as_py(), tokens[at].as_py()
        raise DataRefused(f"{path}: token {here!r} does not come after {before!r} by count and token")


def _check_ids_kept(manifest: Manifest, base: str, name: str, hashes: np.ndarray) -> int:
    """Compare with the parent's tokens, unless it has been deleted; return how many claims were checked."""
    path = join(base, manifest.parent.version, MANIFEST_NAME) if manifest.parent else ""
    if not path or not exists(path):
        return 0
    parent = load_manifest(read_bytes(path), path).vocabularies[name]
    expect(f"vocabulary {name}", "parent", manifest.vocabularies[name].parent, parent.digest)
    start = 0
    for file, entries in _read(parent, base) if all(exists(join(base, shard.path)) for shard in parent.shards) else ():
        tokens = entries.column("token")
        moved = np.flatnonzero(hash_tokens(tokens) != hashes[start : start + len(tokens)])
        if len(moved):
            token = tokens[int(moved[0])].as_py()
            raise DataRefused(f"vocabulary {name}: token {token!r} of {file} no longer has the id it had there")
        start += len(tokens)
    return 2
