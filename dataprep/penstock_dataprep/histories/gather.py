"""Gather the events of each window into lists, and deal the rows to shards."""

import itertools

import numpy as np
import pyarrow as pa

from penstock_dataprep.design import Design
from penstock_dataprep.histories.arrange import Arranged
from penstock_dataprep.histories.events import SPLIT
from penstock_dataprep.histories.windows import members
from penstock_dataprep.rows.mapping import SEGMENT_DTYPES, Segment, deal
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
    events, windows = scratch.read_batch(arranged.events_file), scratch.read_batch(arranged.windows_file)
    rows_per_slice = max(1, VALUES_PER_SLICE // longest)
    dealt: list[tuple[int, Segment]] = []
    for number, start in enumerate(range(0, windows.num_rows, rows_per_slice)):
        window = windows.slice(start, rows_per_slice)
        order, found, edges = deal(window.column(SPLIT).to_numpy(), window.column(PLACE).to_numpy(), design)
        table = _rows(events, window.take(pa.array(order)), collected, design.columns)
        pieces = [table.slice(at, end - at) for at, end in itertools.pairwise(edges.tolist())]
        file = f"gathered/{arranged.partition:05d}.{number:05d}"
        scratch.write_batches(file, pieces)
        segments = [Segment(file, position, piece.num_rows) for position, piece in enumerate(pieces)]
        dealt += zip(found.tolist(), segments, strict=True)
    return dealt


def _rows(
    events: pa.RecordBatch, window: pa.RecordBatch, collected: dict[str, str], columns: tuple[Column, ...]
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
            arrays.append(events.column(column.name).take(window.column("event")))
    return pa.RecordBatch.from_arrays(arrays, names=[PLACE, *(column.name for column in columns)])
