"""Map a staged batch's tokens to ids, and deal its rows to shards."""

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.design import Design
from penstock_dataprep.order.shuffle import shard_of
from penstock_dataprep.order.split import SPLITS, Splitter
from penstock_dataprep.rows.staged import PLACE, Staged, StagedColumn, StagedRows, read_rows, read_tokens
from penstock_dataprep.rows.transform import transform_staged
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.lookup import find_ids
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_dataprep.vocabularies.token_index import ABSENT
from penstock_shared.layout import Column
from penstock_shared.tokens import FIRST_OOV_ID, NULL_ID
from penstock_shared.transforms import Transform

# In memory a number takes the next width that the machine has.
SEGMENT_DTYPES = {
    "u8": "u1",
    "u16": "u2",
    "u24": "u4",
    "u32": "u4",
    "i64": "i8",
    "f16": "f2",
    "bf16": "f4",
    "f32": "f4",
}


@dataclass(frozen=True)
class Segment:
    """Point at the rows of one staged batch that go to one shard: one batch of an Arrow IPC file."""

    file: str
    position: int
    rows: int


def map_batch(
    staged: Staged,
    targets: tuple[Target, ...],
    splitter: Splitter,
    design: Design,
    numberings: dict[str, Numbering],
    scratch: Scratch,
) -> list[tuple[int, Segment]]:
    """Write a staged batch's rows by shard; return (shard number, segment) pairs."""
    rows = read_rows(staged, targets, scratch)
    columns = map_columns(staged, rows, targets, design.columns, design.transforms, numberings, scratch)
    order, found, edges = deal(splitter.assign(staged, rows, scratch), rows.place, design)
    table = pa.RecordBatch.from_arrays([pa.array(rows.place), *columns.values()], names=[PLACE, *columns])
    dealt = table.take(pa.array(order))
    file = f"segments/{staged.label}"
    pieces = [dealt.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]
    scratch.write_batches(file, pieces)
    segments = [Segment(file, position, piece.num_rows) for position, piece in enumerate(pieces)]
    return list(zip(found.tolist(), segments, strict=True))


def map_columns(
    staged: Staged,
    rows: StagedRows,
    targets: tuple[Target, ...],
    columns: tuple[Column, ...],
    transforms: dict[str, Transform],
    numberings: dict[str, Numbering],
    scratch: Scratch,
) -> dict[str, pa.Array]:
    """Return, by column, the ids and numbers as wide as they are stored."""
    mapped = {}
    for target, column in zip(targets, columns, strict=True):
        held = rows.columns[target.name]
        if target.vocabulary is not None:
            numbers = _ids(staged, target, held.numbers, numberings[target.vocabulary], scratch)
        elif target.is_measured:
            numbers = transform_staged(held, transforms[target.name]).fill_null(0).to_numpy()
        else:
            numbers = held.numbers
        mapped[target.name] = _to_arrow(numbers, held, column)
    return mapped


def _ids(staged: Staged, target: Target, codes: np.ndarray, numbering: Numbering, scratch: Scratch) -> np.ndarray:
    """Return the id of each code."""
    tokens, hashes = read_tokens(staged, target.name, scratch)
    ids = find_ids(numbering, tokens, hashes, scratch)
    is_oov = ids == ABSENT
    buckets = (hashes[is_oov] >> np.uint64(1)).astype(np.int64) % numbering.rules.oov_buckets
    ids[is_oov] = FIRST_OOV_ID + buckets
    # Position -1, the null code, picks the last entry.
    return np.append(ids, NULL_ID).astype(np.uint32)[codes]


def _to_arrow(numbers: np.ndarray, held: StagedColumn, column: Column) -> pa.Array:
    stored = numbers.astype(SEGMENT_DTYPES[column.storage], copy=False)
    if held.lengths is not None:
        offsets = np.append(0, np.cumsum(held.lengths)).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(stored))
    if stored.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), stored.shape[1])
    return pa.array(stored, mask=None if held.present is None else ~held.present)


def deal(assigned: np.ndarray, places: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (row order by shard and cell, the shard numbers that occur, the edges between them in that order).

    `assigned` is each row's position in SPLITS, `places` its uint64 place in the global order.
    """
    cells = np.array([design.shards.get(split, 0) * design.cells for split in SPLITS])
    firsts = np.cumsum(cells) - cells
    numbers = np.empty(len(assigned), np.int64)
    for split in range(len(SPLITS)):
        members = np.flatnonzero(assigned == split)
        numbers[members] = firsts[split] + shard_of(places[members], int(cells[split]))
    total = int(cells.sum())
    # numpy sorts 8- and 16-bit keys by radix, in linear time.
    order = np.argsort(
        numbers.astype(np.uint8 if total < 2**8 else np.uint16 if total < 2**16 else np.uint32), kind="stable"
    )
    sizes = np.bincount(numbers, minlength=total).reshape(-1, design.cells).sum(axis=1)
    found = np.flatnonzero(sizes)
    return order, found, np.append(0, np.cumsum(sizes[found]))
