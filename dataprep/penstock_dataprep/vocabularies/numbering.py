"""Give every token its id by prefix sums over sorted ranges, and write vocabularies and their lookup tables."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.order.hashing import string_buffers
from penstock_dataprep.records.blocks import Values, encode_block
from penstock_dataprep.records.tfrecord import frame
from penstock_dataprep.spec.columns import VocabularySpec
from penstock_dataprep.statistics.coverage import CountLevels
from penstock_dataprep.statistics.facts import share
from penstock_dataprep.storage.files import join, write_bytes
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies import counting
from penstock_dataprep.vocabularies.vocabulary import Merged, Range, all_shared
from penstock_shared.digests import vocabulary_digest
from penstock_shared.errors import DataRefused
from penstock_shared.layout import Column, narrowest_integer, narrowest_length
from penstock_shared.tokens import first_token_id
from penstock_shared.vocabularies import Ancestor, CoveragePoint, Vocabulary, VocabularyShard

TOKENS_PER_SHARD = 1 << 22
TOKENS_PER_BLOCK = 1 << 16
LARGEST_SIZE = 2**31 - 1


@dataclass(frozen=True)
class Piece:
    """Point at some of a sorted range's tokens: rows `start` to `stop` of its file, the first with `rank`."""

    file: str
    start: int
    stop: int
    rank: int


@dataclass(frozen=True)
class Numbering:
    """Hold what fixes a vocabulary's ids: its pieces in rank order, and how its tokens and counts are stored.

    `ranks` lists (file of hashes and ranks by hash partition, rank of its first token, tokens kept) per range, from
    which the lookup tables are made, 2^index_bits of them. `shared` are the hashes that several tokens have, which no
    table holds: `sharing` lists (hash, token, id) of these tokens.
    """

    vocabulary: str
    rules: VocabularySpec
    token_dtype: str
    shared_by: tuple[str, ...]
    tokens: int
    counted: int
    covered: int
    curve: tuple[CoveragePoint, ...]
    pieces: tuple[Piece, ...]
    columns: tuple[Column, ...]
    ranks: tuple[tuple[str, int, int], ...]
    index_bits: int
    ancestors: tuple[Ancestor, ...]
    shared: tuple[int, ...]
    sharing: tuple[tuple[int, int | str, int], ...]

    @property
    def size(self) -> int:
        """Return the number of ids, reserved ones included."""
        return first_token_id(self.rules.oov_buckets) + self.tokens

    def shards(self) -> list[tuple[Piece, ...]]:
        """Cut the pieces into runs of at most TOKENS_PER_SHARD tokens, one per vocabulary file."""
        found: list[list[Piece]] = []
        for piece in self.pieces:
            for shard in range(
                piece.rank // TOKENS_PER_SHARD, (piece.rank + piece.stop - piece.start - 1) // TOKENS_PER_SHARD + 1
            ):
                low = max(piece.rank, shard * TOKENS_PER_SHARD)
                high = min(piece.rank + piece.stop - piece.start, (shard + 1) * TOKENS_PER_SHARD)
                if shard == len(found):
                    found.append([])
                shift = piece.start - piece.rank
                found[shard].append(Piece(piece.file, low + shift, high + shift, low))
        return [tuple(pieces) for pieces in found]

    def entry(self, shards: tuple[VocabularyShard, ...]) -> Vocabulary:
        """Return the manifest's entry for the vocabulary written as `shards`."""
        return Vocabulary(
            token_dtype="int64" if self.token_dtype == "int64" else "string",
            encoding=self.rules.encoding,
            size=self.size,
            tokens=self.tokens,
            oov_buckets=self.rules.oov_buckets,
            min_count=self.rules.min_count,
            max_size=self.rules.max_size,
            counted_over=self.rules.of,
            counted_values=self.counted,
            coverage=share(self.covered, self.counted),
            curve=self.curve,
            shared_by=self.shared_by,
            columns=self.columns,
            shards=shards,
            ancestors=self.ancestors,
            parent=self.ancestors[-1].digest if self.ancestors else None,
            digest=vocabulary_digest(self.rules.oov_buckets, self.columns, shards),
        )


def number(
    vocabulary: str,
    rules: VocabularySpec,
    token_dtype: str,
    shared_by: tuple[str, ...],
    partitions: list[Merged],
    ranges: list[Range],
    parent: Vocabulary | None,
    scratch: Scratch,
) -> Numbering:
    """Rank a vocabulary's ranges up to `max_size` tokens; the first ranges are those of `parent`, where there is one.

    Raises DataRefused when the ids do not fit int32, the id dtype of this format.
    """
    ordered = sorted(ranges, key=lambda held: held.number)
    limit = rules.max_size or LARGEST_SIZE
    pieces, rank, levels = [], 0, []
    for held in ordered:
        kept = min(held.tokens, limit - rank)
        if kept > 0:
            piece = Piece(held.file, 0, kept, rank)
            pieces.append(piece)
            rank += kept
            levels.append(CountLevels.of(scratch.read_batch(held.file).column("count").to_numpy()[:kept]))
    if first_token_id(rules.oov_buckets) + rank > LARGEST_SIZE:
        raise DataRefused(f"columns.{vocabulary}.vocabulary: {rank} tokens do not fit int32 ids; raise min_count")
    counted = sum(held.counted for held in ranges) + sum(partition.below for partition in partitions)
    ancestors: tuple[Ancestor, ...] = ()
    if parent is not None:
        added = sum(partition.added for partition in partitions)
        covered_before = sum(held.counted for held in ordered[: len(parent.shards)]) - added
        counted += parent.counted_values - covered_before
        ancestors = (*parent.ancestors, Ancestor(tokens=parent.tokens, digest=parent.digest))
    merged = CountLevels.merge(levels)
    return Numbering(
        vocabulary=vocabulary,
        rules=rules,
        token_dtype=token_dtype,
        shared_by=shared_by,
        tokens=rank,
        counted=counted,
        covered=merged.total,
        curve=merged.curve(counted),
        pieces=tuple(pieces),
        columns=_columns(token_dtype, ordered),
        ranks=tuple((held.ranks_file, piece.rank, piece.stop) for held, piece in zip(ordered, pieces, strict=False)),
        index_bits=index_bits(partitions, parent),
        ancestors=ancestors,
        shared=all_shared(partitions),
        sharing=tuple(
            (shared, token, first_token_id(rules.oov_buckets) + piece.rank + place)
            for held, piece in zip(ordered, pieces, strict=False)
            for shared, token, place in held.sharing
            if place < piece.stop
        ),
    )


def _columns(token_dtype: str, ranges: list[Range]) -> tuple[Column, ...]:
    if token_dtype == "int64":
        smallest = min((held.smallest_token for held in ranges), default=0)
        token = Column(
            name="token", storage=narrowest_integer(smallest, max((held.largest_token for held in ranges), default=0))
        )
    else:
        longest = max((held.longest_token for held in ranges), default=0)
        token = Column(name="token", storage="u8", lengths=narrowest_length(longest))
    largest_count = max((held.largest_count for held in ranges), default=0)
    return (token, Column(name="count", storage=narrowest_integer(0, largest_count)))


def read_pieces(pieces: tuple[Piece, ...], scratch: Scratch) -> pa.RecordBatch:
    """Return the (token, count) rows of some pieces, in rank order."""
    parts = [scratch.read_batch(piece.file).slice(piece.start, piece.stop - piece.start) for piece in pieces]
    merged: pa.RecordBatch = pa.concat_batches(parts)
    return merged


def token_of(numbering: Numbering, token_id: int, scratch: Scratch) -> int | str:
    """Return the token with an id that is not reserved."""
    rank = token_id - first_token_id(numbering.rules.oov_buckets)
    piece = next(piece for piece in reversed(numbering.pieces) if piece.rank <= rank)
    token: int | str = scratch.read_batch(piece.file).column("token")[piece.start + rank - piece.rank].as_py()
    return token


def write_shard(numbering: Numbering, shard: int, base: str, version: str, scratch: Scratch) -> VocabularyShard:
    """Write one vocabulary file and return the manifest's entry for it."""
    pieces = numbering.shards()
    table = read_pieces(pieces[shard], scratch)
    path = f"{version}/vocabularies/{numbering.vocabulary}/{shard:05d}-of-{len(pieces):05d}.tfrecord"
    tokens, counts = table.column("token"), table.column("count").to_numpy()
    if numbering.token_dtype == "int64":
        token_values = Values(tokens.to_numpy())
    else:
        offsets, content = string_buffers(tokens)
        token_values = Values(content, np.diff(offsets))
    values, rows = (token_values, Values(counts)), table.num_rows
    payloads = (
        frame(
            encode_block(
                numbering.columns,
                [held.slice(start, min(start + TOKENS_PER_BLOCK, rows)) for held in values],
                min(TOKENS_PER_BLOCK, rows - start),
            )
        )
        for start in range(0, rows, TOKENS_PER_BLOCK)
    )
    size, crc32c = write_bytes(join(base, path), payloads)
    return VocabularyShard(path=path, bytes=size, crc32c=crc32c, tokens=rows)


def index_bits(partitions: list[Merged], parent: Vocabulary | None) -> int:
    """Return the number of leading hash bits that choose a lookup table."""
    tokens = sum(partition.tokens for partition in partitions) + (parent.tokens if parent else 0)
    return counting.partition_bits(tokens, counting.TOKENS_PER_TABLE)
