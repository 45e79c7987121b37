"""Put the rows of a shard in their final order, a cell at a time, so that what is sorted fits the processor's cache.

A cell is an equal share of a shard's places, as a shard is of all places (see shuffle.py). Rows come dealt by cell, so
that a cell is a slice of each batch.
"""

import itertools

import numpy as np
import pyarrow as pa

from penstock_dataprep.order.hashing import fold_lists
from penstock_dataprep.order.shuffle import move_copies, shard_of, sort_rows
from penstock_dataprep.records.blocks import Values
from penstock_dataprep.rows.staged import PLACE

ROWS_PER_CELL = 1 << 17
# A batch of the source is cut into so many slices at most, over all shards.
MOST_CELLS = 1 << 12


def cells_per_shard(rows_per_shard: int, shards: int) -> int:
    """Return how many cells a shard is dealt in, where there are `shards` over all splits."""
    return max(1, min(MOST_CELLS // max(1, shards), rows_per_shard // ROWS_PER_CELL))


def order_cells(
    batches: list[pa.RecordBatch], shard: int, shards: int, cells: int, drop_copies: bool
) -> list[pa.RecordBatch]:
    """Return the rows of one shard in their final order, without all but one of equal rows where `drop_copies`.

    Each batch has its rows by cell, and their uint64 PLACE beside the columns that tell rows apart.
    """
    edges = [_edges(batch, shard, shards, cells) for batch in batches]
    ordered, copies = [], []
    for cell in range(cells):
        slices = [
            batch.slice(held[cell], held[cell + 1] - held[cell]) for batch, held in zip(batches, edges, strict=True)
        ]
        table = pa.concat_batches(slices)
        rows, is_copy = _sort(table)
        if is_copy.any():
            moved = move_copies(table.column(PLACE).to_numpy()[rows], is_copy, shard, shards)
            copies.append(_at(table.take(pa.array(rows[is_copy])), moved[is_copy]))
            rows = rows[~is_copy]
        ordered.append(table.take(pa.array(rows)))
    if copies and not drop_copies:
        _insert(ordered, pa.concat_batches(copies), shard, shards)
    return ordered


def _insert(ordered: list[pa.RecordBatch], copies: pa.RecordBatch, shard: int, shards: int) -> None:
    """Put rows that have places of their own by now into the cells that they belong to."""
    copies = copies.take(pa.array(_sort(copies)[0]))
    edges = _edges(copies, shard, shards, len(ordered))
    for cell, (start, stop) in enumerate(itertools.pairwise(edges)):
        if stop > start:
            ordered[cell] = _merge(ordered[cell], copies.slice(start, stop - start))


def _merge(ordered: pa.RecordBatch, added: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of two batches, each in order, in their final order."""
    table = pa.concat_batches([ordered, added])
    places, new = ordered.column(PLACE).to_numpy(), added.column(PLACE).to_numpy()
    at = np.searchsorted(places, new, side="left")
    if np.array_equal(at, np.searchsorted(places, new, side="right")):
        rows = np.insert(np.arange(len(places)), at, np.arange(len(places), table.num_rows))
    else:
        rows, _ = _sort(table)  # Content decides between rows of one place.
    return table.take(pa.array(rows))


def _edges(batch: pa.RecordBatch, shard: int, shards: int, cells: int) -> list[int]:
    found = shard_of(batch.column(PLACE).to_numpy(), shards * cells)
    edges: list[int] = np.searchsorted(found, shard * cells + np.arange(cells + 1)).tolist()
    return edges


def _sort(table: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    def content_of(rows: np.ndarray) -> list[np.ndarray]:
        return content(table.drop_columns([PLACE]).take(pa.array(rows)).columns)

    return sort_rows(table.column(PLACE).to_numpy(), content_of)


def _at(table: pa.RecordBatch, places: np.ndarray) -> pa.RecordBatch:
    return table.set_column(table.schema.get_field_index(PLACE), PLACE, pa.array(places))


def content(arrays: list[pa.Array]) -> list[np.ndarray]:
    """Return arrays that together tell rows apart; a list stands as its hash."""
    found = []
    for array in arrays:
        values = Values.of(array)
        if values.lengths is not None:
            hashes = np.zeros(len(array), np.uint64)
            fold_lists(hashes, _bits(values.numbers), values.lengths)
            found.append(hashes)
            continue
        found += list(values.numbers.T) if values.numbers.ndim == 2 else [values.numbers]
        if values.present is not None:
            found.append(values.present)
    return found


def _bits(numbers: np.ndarray) -> np.ndarray:
    whole = numbers.astype(np.float32) if numbers.dtype.kind == "f" else numbers
    return (whole.view(np.uint32) if whole.dtype.kind == "f" else whole).astype(np.uint64)
