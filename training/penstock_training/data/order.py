"""Order a split's blocks for an epoch, and find where in that order a step begins.

Order is a pure function of (manifest, seed, epoch): the epoch's blocks are a permutation of all blocks of the split,
their rows end to end are cut into windows of `window_rows` rows, each window's rows are permuted, and the permuted
rows are cut into batches. A window is a whole number of batches, so that the place where a step begins is computed,
never replayed. With several lanes (penstock_training.data.lanes) each lane is cut into windows and batches like this.
"""

from dataclasses import dataclass

import numpy as np

from penstock_shared.splits import Split
from penstock_shared.tokens import MASK64, MIX_MULTIPLIERS, MIX_SHIFT, mix64


@dataclass(frozen=True)
class BlockTable:
    """Say where the blocks of a split lie: parallel int64 arrays, in the order the shards are listed."""

    shards: np.ndarray
    offsets: np.ndarray
    bytes: np.ndarray
    rows: np.ndarray

    @classmethod
    def of_split(cls, split: Split, offsets: np.ndarray, rows_per_block: int) -> "BlockTable":
        """Derive each block's bytes and rows from the split's shards and its int64 [blocks] byte offsets."""
        blocks = np.array([shard.blocks for shard in split.shards], np.int64)
        shard_of_block = np.repeat(np.arange(len(blocks)), blocks)
        last = np.cumsum(blocks)[blocks > 0] - 1
        rows = np.full(len(offsets), rows_per_block, np.int64)
        ends = np.append(offsets[1:], 0)
        holding = [shard for shard in split.shards if shard.blocks]
        rows[last] = [shard.rows - (shard.blocks - 1) * rows_per_block for shard in holding]
        ends[last] = [shard.bytes for shard in holding]
        return cls(shard_of_block, offsets, ends - offsets, rows)

    def take(self, order: np.ndarray) -> "BlockTable":
        """Return the blocks in another order, or some of them."""
        return BlockTable(self.shards[order], self.offsets[order], self.bytes[order], self.rows[order])


@dataclass(frozen=True)
class Pieces:
    """Say which rows of which blocks to read, in order: of each block, `keep` rows after the first `skip`."""

    blocks: BlockTable
    skip: np.ndarray
    keep: np.ndarray


def epoch_order(blocks: int, seed: int, epoch: int) -> np.ndarray:
    """Return the permutation of `blocks` block numbers that an epoch reads, int64 [blocks]."""
    key = mix64(mix64(seed & MASK64) ^ epoch)
    hashes = np.arange(blocks, dtype=np.uint64) ^ np.uint64(key)
    for multiplier in MIX_MULTIPLIERS:
        hashes = (hashes ^ (hashes >> np.uint64(MIX_SHIFT))) * np.uint64(multiplier)
    # The finaliser is a bijection, so that hashes are distinct; its last shift cannot change which is larger first.
    return np.argsort(hashes ^ (hashes >> np.uint64(MIX_SHIFT)), kind="stable")


def window_seed(seed: int, epoch: int) -> tuple[int, int]:
    """Return two int32 numbers that key the row permutations of an epoch's windows.

    Window w of lane l takes them with w exclusive-or-ed into the first and l into the second.
    """
    key = mix64(mix64(~seed & MASK64) ^ epoch)
    return (key & 0x7FFFFFFF, (key >> 32) & 0x7FFFFFFF)


def steps_per_epoch(rows: int, batch_rows: int) -> int:
    """Return the number of full batches; the rows left over differ from epoch to epoch."""
    return rows // batch_rows


def window_rows(window_blocks: int, rows_per_block: int, batch_rows: int) -> int:
    """Return the rows of a window of about `window_blocks` blocks: a whole number of batches, at least one."""
    return max(1, window_blocks * rows_per_block // batch_rows) * batch_rows


def start_of_step(rows_per_window: int, batch_rows: int, step: int) -> tuple[int, int]:
    """Return (window, batches to pass over in it) where step `step` of an epoch begins."""
    return divmod(step, rows_per_window // batch_rows)


def cut(blocks: BlockTable, first_rows: np.ndarray, end_rows: np.ndarray) -> Pieces:
    """Return the pieces that hold the rows of some ranges, int64 [ranges], counted from the first of `blocks` on."""
    ends = np.cumsum(blocks.rows)
    starts = ends - blocks.rows
    first = np.searchsorted(ends, first_rows, side="right")
    counts = np.where(end_rows > first_rows, np.searchsorted(starts, end_rows, side="left") - first, 0)
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.repeat(first, counts) + places
    skip = np.maximum(np.repeat(first_rows, counts) - starts[held], 0)
    keep = np.minimum(np.repeat(end_rows, counts), ends[held]) - starts[held] - skip
    return Pieces(blocks.take(held), skip, keep)
