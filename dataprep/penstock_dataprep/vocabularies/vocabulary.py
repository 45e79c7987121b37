"""Rank tokens by descending count without ever sorting a whole vocabulary in one place.

It is a sample sort (Frazer and McKellar, 1970): keys sampled from all hash partitions split the order (count
descending, token ascending) into ranges of about equal size, each range is sorted on its own, and prefix sums over the
ranges' sizes give every token its rank. Which keys split does not change any rank.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.order.hashing import string_buffers
from penstock_dataprep.order.sorting import argsort_tokens

TOKENS_PER_RANGE = 1 << 19
KEYS_PER_PARTITION = 64  # sampled keys; the sizes of ranges vary by some percent with it


Key = tuple[int, int | str]  # a place in the order of a vocabulary: (count, token)


@dataclass(frozen=True)
class Merged:
    """Describe one partition's merged counts: how many tokens were admitted and their file, and sampled keys.

    `below` is the sum of the counts of the tokens that were not admitted, `added` of those that the parent has.
    `shared` are the hashes that several tokens have, admitted or not.
    """

    vocabulary: str
    partition: int
    tokens: int
    below: int
    added: int
    keys: tuple[Key, ...]
    shared: tuple[int, ...] = ()

    @property
    def file(self) -> str:
        """Return the name of the scratch file that holds the admitted tokens and their counts."""
        return f"merged/{self.vocabulary}.{self.partition:05d}"

    @property
    def added_file(self) -> str:
        """Return the name of the scratch file that holds what to add to the counts of the parent's tokens."""
        return f"added/{self.vocabulary}.{self.partition:05d}"


def all_shared(partitions: list[Merged]) -> tuple[int, ...]:
    """Return the hashes of a vocabulary that several tokens have."""
    return tuple(shared for partition in partitions for shared in partition.shared)


def sample_keys(table: pa.RecordBatch) -> tuple[Key, ...]:
    """Return keys of evenly spaced rows of a partition, which is in the order of hashes and so of no meaning."""
    rows = np.unique(np.linspace(0, table.num_rows - 1, KEYS_PER_PARTITION).astype(np.int64)) if table.num_rows else []
    picked = table.take(pa.array(rows, pa.int64()))
    return tuple(zip(picked.column("count").to_pylist(), picked.column("token").to_pylist(), strict=True))


def choose_splitters(partitions: list[Merged]) -> list[Key]:
    """Return the keys at which ranges of about TOKENS_PER_RANGE tokens begin, the first range's left out."""
    ranges = -(-sum(partition.tokens for partition in partitions) // TOKENS_PER_RANGE)
    keys = sorted({key for partition in partitions for key in partition.keys}, key=_rank_key)
    return [keys[len(keys) * at // ranges] for at in range(1, ranges)] if len(keys) >= ranges else keys[1:]


def cut_by_range(table: pa.RecordBatch, splitters: list[Key]) -> dict[int, np.ndarray]:
    """Return the uint32 rows of a partition's tokens by the range they belong to."""
    counts, tokens = table.column("count").to_numpy(), table.column("token")
    ranges = np.zeros(table.num_rows, np.uint16)
    for count, token in splitters:
        ranges += counts < count
        level = np.flatnonzero(counts == count)
        from_token = pc.greater_equal(tokens.take(pa.array(level)), pa.scalar(token, tokens.type))
        ranges[level] += from_token.to_numpy(zero_copy_only=False)
    order = np.argsort(ranges, kind="stable")
    found, starts = np.unique(ranges[order], return_index=True)
    cut = np.split(order.astype(np.uint32), starts[1:])
    return dict(zip(found.tolist(), cut, strict=True)) if len(found) else {}


def sort_range(tables: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return a range's tokens by descending count, ties by ascending token."""
    merged: pa.RecordBatch = pa.concat_batches(tables)
    order = argsort_tokens(merged.column("token"))
    # Most ranges hold few different counts, which numpy sorts by radix where they fit 16 bits.
    below = int(merged.column("count").to_numpy().max()) - merged.column("count").to_numpy()[order]
    narrow = below.astype(np.uint16) if below.max() < 1 << 16 else below
    return merged.take(pa.array(order[np.argsort(narrow, kind="stable")]))


@dataclass(frozen=True)
class Range:
    """Describe a range of tokens in the order of their ids.

    Ranges are numbered from the most frequent tokens down, after those of the parent's tokens. `sharing` lists (hash,
    token, rank in the range) of the tokens whose hash another token has.
    """

    vocabulary: str
    number: int
    tokens: int
    counted: int
    largest_count: int
    smallest_token: int = 0
    largest_token: int = 0
    longest_token: int = 0
    sharing: tuple[tuple[int, int | str, int], ...] = ()

    @classmethod
    def of(cls, vocabulary: str, number: int, table: pa.RecordBatch, shared: tuple[int, ...]) -> "Range":
        """Measure a range's table; `shared` are the hashes that several tokens have."""
        counts = table.column("count").to_numpy()
        tokens = table.column("token")
        smallest = largest = longest = 0
        if pa.types.is_integer(tokens.type):
            extremes = pc.min_max(tokens)
            smallest, largest = extremes["min"].as_py(), extremes["max"].as_py()
        else:
            longest = int(np.diff(string_buffers(tokens)[0]).max())
        hashes = table.column("hash").to_numpy()
        at = np.flatnonzero(np.isin(hashes, np.array(shared, np.uint64))).tolist() if shared else []
        sharing = tuple((int(hashes[rank]), tokens[rank].as_py(), rank) for rank in at)
        extent = (smallest, largest, longest)
        return cls(vocabulary, number, len(counts), int(counts.sum()), int(counts.max()), *extent, sharing)

    @property
    def file(self) -> str:
        """Return the name of the scratch file that holds the sorted tokens and counts."""
        return f"ranges/{self.vocabulary}.{self.number:05d}"

    @property
    def ranks_file(self) -> str:
        """Return the name of the scratch file that holds (hash, rank in the range) by hash partition."""
        return f"ranks/{self.vocabulary}.{self.number:05d}"


def cut_by_hash(table: pa.RecordBatch, bits: int) -> list[pa.RecordBatch]:
    """Return the 2^bits partitions of a table by the leading bits of its hashes."""
    if bits == 0:
        return [table]
    partition = (table.column("hash").to_numpy() >> np.uint64(64 - bits)).astype(np.uint16)
    order = np.argsort(partition, kind="stable")
    ordered = table.take(pa.array(order))
    edges = np.searchsorted(partition[order], np.arange((1 << bits) + 1))
    return [ordered.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]


def rank_table(table: pa.RecordBatch) -> pa.RecordBatch:
    """Return the (hash, rank) of a sorted range's tokens, ranks counted from 0."""
    ranks = pa.array(np.arange(table.num_rows, dtype=np.uint32))
    return pa.RecordBatch.from_arrays([table.column("hash"), ranks], names=["hash", "rank"])


def _rank_key(key: Key) -> tuple[int, int | bytes]:
    count, token = key
    return -count, token.encode("utf-8") if isinstance(token, str) else token
