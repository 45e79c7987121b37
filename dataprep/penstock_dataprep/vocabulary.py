"""Count tokens and rank them by descending count without ever sorting a whole vocabulary in one place.

Counts of a batch are cut by token hash into partitions; a partition's counts are summed on their own, and its tokens
dealt into bands of similar counts; a band is sorted on its own, and prefix sums over the bands' sizes give every
token its id.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.hashing import string_buffers
from penstock_dataprep.sorting import argsort_words
from penstock_dataprep.spec import VocabularySpec
from penstock_shared.errors import DataRefused

TOKENS_PER_PARTITION = 1 << 19
EXACT_BANDS = 16  # counts below this have a band each: they hold most tokens of a long-tailed log
BANDS_PER_OCTAVE = 2


def partition_bits(tokens: int) -> int:
    """Return the number of leading hash bits that cut `tokens` tokens into partitions of bounded size."""
    return max(0, (-(-tokens // TOKENS_PER_PARTITION) - 1).bit_length())


def count_codes(codes: np.ndarray, tokens: int, mask: np.ndarray | None) -> np.ndarray:
    """Return how often each of `tokens` codes occurs, nulls (negative codes) left out.

    `mask` is True for the values to count, or None for all.
    """
    counted = codes if mask is None else codes[mask]
    return np.bincount(counted[counted >= 0] if len(counted) and counted.min() < 0 else counted, minlength=tokens)


def count_table(tokens: pa.Array, hashes: np.ndarray, counts: np.ndarray) -> pa.RecordBatch:
    """Return the batch (token, hash, count) that the counting steps hand on."""
    return pa.RecordBatch.from_arrays(
        [tokens, pa.array(hashes), pa.array(counts.astype(np.int64))], names=["token", "hash", "count"]
    )


def cut_by_hash(table: pa.RecordBatch, bits: int) -> list[pa.RecordBatch]:
    """Return the 2^bits partitions of a count table by the leading bits of the hash."""
    if bits == 0:
        return [table]
    partition = (table.column("hash").to_numpy() >> np.uint64(64 - bits)).astype(np.uint16)
    order = np.argsort(partition, kind="stable")
    ordered = table.take(pa.array(order))
    edges = np.searchsorted(partition[order], np.arange((1 << bits) + 1))
    return [ordered.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]


def merge_counts(tables: list[pa.RecordBatch], where: str) -> pa.RecordBatch:
    """Return the sums of count tables, one row per token.

    Raises DataRefused when two tokens share a hash, which 64 bits make improbable but not impossible.
    """
    merged: pa.RecordBatch = pa.concat_batches(tables)
    if merged.num_rows == 0:
        return merged
    hashes = merged.column("hash").to_numpy()
    order = argsort_words(hashes)
    ordered = hashes[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])
    starts = np.flatnonzero(is_first)
    tokens = merged.column("token")
    if not pa.types.is_integer(tokens.type):  # The hash of an integer is a bijection.
        beside = tokens.take(pa.array(order))
        differs = pc.not_equal(beside.slice(1), beside.slice(0, len(beside) - 1)).to_numpy(zero_copy_only=False)
        collision = np.flatnonzero(differs & ~is_first[1:])
        if len(collision):
            pair = [beside[int(collision[0]) + offset].as_py() for offset in (0, 1)]
            raise DataRefused(
                f"{where}: tokens {pair[0]!r} and {pair[1]!r} have the same 64-bit hash; rename one of them"
            )
    counts = np.add.reduceat(merged.column("count").to_numpy()[order], starts)
    return count_table(tokens.take(pa.array(order[starts])), ordered[starts], counts)


def band_of(counts: np.ndarray) -> np.ndarray:
    """Return the band of each positive count: counts of a lower band are all below those of a higher one."""
    octaves = EXACT_BANDS + (BANDS_PER_OCTAVE * np.log2(np.maximum(counts, EXACT_BANDS) / EXACT_BANDS)).astype(np.int64)
    return np.where(counts < EXACT_BANDS, counts, octaves)


def cut_by_band(table: pa.RecordBatch, rules: VocabularySpec) -> dict[int, pa.RecordBatch]:
    """Return the tokens with at least `min_count` counts by band."""
    counts = table.column("count").to_numpy()
    admitted = table.filter(pa.array(counts >= rules.min_count))
    bands = band_of(admitted.column("count").to_numpy()).astype(np.uint16)
    order = np.argsort(bands, kind="stable")
    ordered, bands = admitted.take(pa.array(order)), bands[order]
    found, starts = np.unique(bands, return_index=True)
    edges = [*starts.tolist(), len(bands)]
    return {int(band): ordered.slice(edges[at], edges[at + 1] - edges[at]) for at, band in enumerate(found)}


def sort_band(tables: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return a band's tokens by descending count, ties by ascending token."""
    merged: pa.RecordBatch = pa.concat_batches(tables)
    counts = merged.column("count").to_numpy()
    keys = (
        [("token", "ascending")] if (counts == counts[0]).all() else [("count", "descending"), ("token", "ascending")]
    )
    return merged.take(pc.sort_indices(merged, sort_keys=keys))


@dataclass(frozen=True)
class Band:
    """Describe a sorted band; band 0 stands for the tokens that were not admitted, and has no file."""

    vocabulary: str
    band: int
    tokens: int
    counted: int
    largest_count: int = 0
    smallest_token: int = 0
    largest_token: int = 0
    longest_token: int = 0

    @classmethod
    def of(cls, vocabulary: str, band: int, table: pa.RecordBatch) -> "Band":
        """Measure a band's table."""
        counts = table.column("count").to_numpy()
        tokens = table.column("token")
        smallest = largest = longest = 0
        if pa.types.is_integer(tokens.type):
            extremes = pc.min_max(tokens)
            smallest, largest = extremes["min"].as_py(), extremes["max"].as_py()
        else:
            longest = int(np.diff(string_buffers(tokens)[0]).max())
        return cls(vocabulary, band, len(counts), int(counts.sum()), int(counts.max()), smallest, largest, longest)

    @property
    def file(self) -> str:
        """Return the name of the scratch file that holds the sorted band."""
        return f"bands/{self.vocabulary}.{self.band:05d}"
