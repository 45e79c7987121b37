"""Gather the events of each window into lists, and deal the rows to shards."""

import itertools

import numpy as np
import pyarrow as pa

from penstock_dataprep.design import Design
from penstock_dataprep.histories.arrange import Arranged
from penstock_dataprep.histories.events import SPLIT
from penstock_dataprep.histories.windows import members
from penstock_dataprep.order.shuffle import shard_of
from penstock_dataprep.order.split import SPLITS
from penstock_dataprep.rows.mapping import SEGMENT_DTYPES, Segment
from penstock_dataprep.rows.staged import PLACE
from penstock_dataprep.storage.scratch import Scratch
from penstock_shared.layout import Column

# What a slice holds in memory, however many events a user has; 2^22 values are 16 MiB of ids.
VALUES_PER_SLICE = 1 << 22


def gather(
    arranged: Arranged, collected: dict[str, str], longest: int, design: Design, scratch: Scratch
) -> list[tuple[int, Segment]]:
    """Write a partition's rows by shard, a slice at a time; return (shard number, segment) pairs.

    `collected` names the column behind each list feature, and no list has more than `longest` values.
    """
    if not sum(arranged.rows.values()):
        return []
    rows, events = scratch.read_batch(arranged.rows_file), scratch.read_batch(arranged.events_file)
    windows = scratch.read_batch(arranged.windows_file)
    rows_per_slice = max(1, VALUES_PER_SLICE // longest)
    dealt: list[tuple[int, Segment]] = []
    for number, start in enumerate(range(0, windows.num_rows, rows_per_slice)):
        window = windows.slice(start, rows_per_slice)
        order, found, edges = _deal(window.column(SPLIT).to_numpy(), window.column(PLACE).to_numpy(), design)
        table = _rows(rows, events, window.take(pa.array(order)), collected, design.columns)
        pieces = [table.slice(at, end - at) for at, end in itertools.pairwise(edges.tolist())]
        file = f"gathered/{arranged.partition:05d}.{number:05d}"
        scratch.write_batches(file, pieces)
        segments = [Segment(file, position, piece.num_rows) for position, piece in enumerate(pieces)]
        dealt += zip(found.tolist(), segments, strict=True)
    return dealt


def _rows(
    rows: pa.RecordBatch,
    events: pa.RecordBatch,
    window: pa.RecordBatch,
    collected: dict[str, str],
    columns: tuple[Column, ...],
) -> pa.RecordBatch:
    lengths = window.column("length").to_numpy()
    taken = members(window.column("start").to_numpy(), lengths)
    offsets = pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))
    arrays = [window.column(PLACE)]
    for column in columns:
        if column.name in collected:
            numbers = events.column(collected[column.name]).to_numpy()[taken]
            stored = numbers.astype(SEGMENT_DTYPES[column.storage], copy=False)
            arrays.append(pa.ListArray.from_arrays(offsets, pa.array(stored)))
        else:
            arrays.append(rows.column(column.name).take(window.column("row")))
    return pa.RecordBatch.from_arrays(arrays, names=[PLACE, *(column.name for column in columns)])


def _deal(assigned: np.ndarray, places: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
