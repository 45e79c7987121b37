"""Map a staged batch's rows to events with ids, and cut them by the hash of their key."""

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.order.split import Splitter
from penstock_dataprep.rows.mapping import Segment, code_ids, map_columns
from penstock_dataprep.rows.staged import PLACE, Staged, read_rows, read_tokens
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_shared.layout import Column
from penstock_shared.transforms import Transform

KEY, SPLIT, TIME = "\x00key", "\x00split", "\x00time"
EVENTS_PER_PARTITION = 1 << 18
# Past 2^12 partitions they grow instead, so that a batch's pieces do not become too small to move.
MOST_PARTITION_BITS = 12


@dataclass(frozen=True)
class EventPlan:
    """Say what an event carries: `targets` are its columns; `key` and `time` name those that put it in order."""

    targets: tuple[Target, ...]
    columns: tuple[Column, ...]
    transforms: dict[str, Transform]
    key: str
    time: str
    partition_bits: int


def partition_bits(events: int) -> int:
    """Return the number of leading hash bits that cut events into partitions by their key."""
    return min(MOST_PARTITION_BITS, max(0, (-(-events // EVENTS_PER_PARTITION) - 1).bit_length()))


def map_events(
    staged: Staged,
    targets: tuple[Target, ...],
    plan: EventPlan,
    splitter: Splitter,
    numberings: dict[str, Numbering],
    scratch: Scratch,
) -> list[tuple[int, Segment]]:
    """Write a staged batch's events by partition, and return (partition, segment) pairs.

    `targets` are all the batch's columns. Keys are told apart by their hash, not their id, which tokens outside the
    vocabulary share.
    """
    rows = read_rows(staged, targets, scratch)
    ids = code_ids(staged, plan.targets, numberings, scratch)
    columns = map_columns(rows, plan.targets, plan.columns, plan.transforms, ids)
    keys = read_tokens(staged, plan.key, scratch)[1][rows.columns[plan.key].numbers]
    events = {
        PLACE: pa.array(rows.place),
        KEY: pa.array(keys),
        SPLIT: pa.array(splitter.assign(staged, rows, scratch)),
        TIME: pa.array(rows.columns[plan.time].numbers),
        **columns,
    }
    table = pa.RecordBatch.from_arrays(list(events.values()), names=list(events))
    # Two shifts, because one by 64 is undefined.
    partitions = ((keys >> np.uint64(1)) >> np.uint64(63 - plan.partition_bits)).astype(np.uint16)
    order = np.argsort(partitions, kind="stable")
    found, starts = np.unique(partitions[order], return_index=True)
    dealt, file = table.take(pa.array(order)), f"keyed/{staged.label}"
    edges = np.append(starts, len(order))
    pieces = [dealt.slice(start, stop - start) for start, stop in itertools.pairwise(edges.tolist())]
    scratch.write_batches(file, pieces)
    segments = [Segment(file, position, piece.num_rows) for position, piece in enumerate(pieces)]
    return list(zip(found.tolist(), segments, strict=True))
