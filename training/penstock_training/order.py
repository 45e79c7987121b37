"""Order a split's blocks for an epoch, and find where in that order a step begins.

Order is a pure function of (manifest, seed, epoch): the epoch's blocks are a permutation of all blocks of the split,
their rows end to end are cut into windows of `window_rows` rows, each window's rows are permuted, and the permuted
rows are cut into batches. A window is a whole number of batches, so that the place where a step begins is computed,
never replayed.
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
class Start:
    """Say where a step begins: the first block to read, and what to pass over after that.

    `block` counts in the epoch's order. `skip_rows` rows of that block belong to the window before `window`, and
    `skip_batches` batches of that window to steps already done.
    """

    block: int
    skip_rows: int
    window: int
    skip_batches: int


def epoch_order(blocks: int, seed: int, epoch: int) -> np.ndarray:
    """Return the permutation of `blocks` block numbers that an epoch reads, int64 [blocks]."""
    key = mix64(mix64(seed & MASK64) ^ epoch)
    hashes = np.arange(blocks, dtype=np.uint64) ^ np.uint64(key)
    for multiplier in MIX_MULTIPLIERS:
        hashes = (hashes ^ (hashes >> np.uint64(MIX_SHIFT))) * np.uint64(multiplier)
    # The finaliser is a bijection, so that hashes are distinct; its last shift cannot change which is larger first.
    return np.argsort(hashes ^ (hashes >> np.uint64(MIX_SHIFT)), kind="stable")


def window_seed(seed: int, epoch: int) -> tuple[int, int]:
    """Return two int32 numbers that key the row permutations of an epoch's windows."""
    key = mix64(mix64(~seed & MASK64) ^ epoch)
    return (key & 0x7FFFFFFF, (key >> 32) & 0x7FFFFFFF)


def steps_per_epoch(rows: int, batch_rows: int) -> int:
    """Return the number of full batches; the rows left over differ from epoch to epoch."""
    return rows // batch_rows


def window_rows(window_blocks: int, rows_per_block: int, batch_rows: int) -> int:
    """Return the rows of a window of about `window_blocks` blocks: a whole number of batches, at least one."""
    return max(1, window_blocks * rows_per_block // batch_rows) * batch_rows


def start_of_step(block_rows: np.ndarray, rows_per_window: int, batch_rows: int, step: int) -> Start:
    """Return where step `step` of an epoch begins, given the rows of the epoch's blocks in their order."""
    window, skip_batches = divmod(step, rows_per_window // batch_rows)
    ends = np.cumsum(block_rows)
    first_row = window * rows_per_window
    block = int(np.searchsorted(ends, first_row, side="right"))
    skip_rows = first_row - int(ends[block - 1]) if block else first_row
    return Start(block, skip_rows, window, skip_batches)
