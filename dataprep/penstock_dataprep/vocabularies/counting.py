"""Count tokens batch by batch, and sum the counts of each hash partition on its own.

A batch's tokens lie in the order of their hashes, so a partition of it is a slice: counting a batch writes nothing but
its counts.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.order.sorting import sort_words
from penstock_dataprep.spec.columns import VocabularySpec
from penstock_dataprep.storage.scratch import Scratch

TOKENS_PER_PARTITION = 1 << 21  # of all batches; a partition takes some 200 MB while it is summed
TOKENS_PER_TABLE = 1 << 19  # of a vocabulary


@dataclass(frozen=True)
class Counts:
    """Point at rows `start` to `stop` of a scratch file of tokens, and of one of their counts as `counts_dtype`.

    `counts` is empty for tokens of an older version, whose file holds their counts and ranks.
    """

    tokens: str
    counts: str
    counts_dtype: str
    start: int
    stop: int

    def read(self, scratch: Scratch) -> pa.RecordBatch:
        """Return the (token, hash, check, count) rows."""
        held = scratch.read_batch(self.tokens).slice(self.start, self.stop - self.start)
        if not self.counts:
            return held
        counts = scratch.map_array(self.counts, self.counts_dtype)[self.start : self.stop]
        return count_table(held.column("token"), held.column("hash"), held.column("check"), counts)


def partition_bits(tokens: int, tokens_per_partition: int) -> int:
    """Return the number of leading hash bits that cut `tokens` tokens into partitions of about a size at most."""
    return (max(1, -(-tokens // tokens_per_partition)) - 1).bit_length()


def partition_edges(hashes: np.ndarray, bits: int) -> np.ndarray:
    """Return the 2^bits + 1 edges between the partitions of ascending hashes by their leading bits."""
    firsts = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - max(1, bits))
    return np.concatenate([[0], np.searchsorted(hashes, firsts), [len(hashes)]])


def count_codes(codes: np.ndarray, tokens: int, mask: np.ndarray | None) -> np.ndarray:
    """Return how often each of `tokens` codes occurs, nulls (negative codes) left out.

    `mask` is True for the values to count, or None for all.
    """
    counted = codes if mask is None else codes[mask]
    return np.bincount(counted[counted >= 0] if len(counted) and counted.min() < 0 else counted, minlength=tokens)


def count_table(tokens: pa.Array, hashes: pa.Array, checks: pa.Array, counts: np.ndarray) -> pa.RecordBatch:
    """Return the batch (token, hash, check, count) that the counting steps hand on."""
    columns = [tokens, hashes, checks, pa.array(counts.astype(np.int64, copy=False))]
    return pa.RecordBatch.from_arrays(columns, names=["token", "hash", "check", "count"])


def merge_counts(tables: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the sums of count tables, one row per token, by ascending hash and then token."""
    merged: pa.RecordBatch = pa.concat_batches(tables)
    if merged.num_rows == 0:
        return merged
    hashes = merged.column("hash").to_numpy()
    order, ordered = sort_words(hashes)
    checks = merged.column("check").to_numpy()[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])
    if ((checks[1:] != checks[:-1]) & ~is_first[1:]).any():
        return _merge_by_token(merged)
    counts = np.add.reduceat(merged.column("count").to_numpy()[order], np.flatnonzero(is_first))
    firsts = pa.array(order[is_first])
    return count_table(
        merged.column("token").take(firsts), pa.array(ordered[is_first]), pa.array(checks[is_first]), counts
    )


def _merge_by_token(merged: pa.RecordBatch) -> pa.RecordBatch:
    """Sum counts by the tokens themselves, some of which share a hash."""
    keys = ["token", "hash", "check"]
    summed = pa.Table.from_batches([merged]).group_by(keys, use_threads=False).aggregate([("count", "sum")])
    ordered = summed.rename_columns([*keys, "count"]).sort_by([("hash", "ascending"), ("token", "ascending")])
    whole: pa.RecordBatch = pa.concat_batches(ordered.to_batches())
    return whole


def shared_hashes(hashes: np.ndarray) -> tuple[int, ...]:
    """Return each of some ascending hashes that several tokens have; 64 bits make it improbable, not impossible."""
    return tuple(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]).tolist())


def admit(table: pa.RecordBatch, rules: VocabularySpec) -> tuple[pa.RecordBatch, int]:
    """Return the tokens with at least `min_count` counts, and the sum of the counts of the others."""
    counts = table.column("count").to_numpy()
    is_admitted = counts >= rules.min_count
    return table.filter(pa.array(is_admitted)), int(counts[~is_admitted].sum())
