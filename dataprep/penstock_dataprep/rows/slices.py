"""Deal a staged batch's rows to shards as slices of it, so that rows are written to the scratch folder only once.

A batch's rows lie in the order of their places, and a shard is a range of places. Their tokens become ids when a shard
is written, through a table of the ids of the batch's distinct tokens.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from penstock_dataprep.design import Design
from penstock_dataprep.order.shuffle import first_places
from penstock_dataprep.order.split import SPLITS, Splitter
from penstock_dataprep.rows.mapping import Segment, code_ids, map_columns
from penstock_dataprep.rows.staged import PLACE, Staged, read_rows, rows_file, to_rows
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.numbering import Numbering


@dataclass(frozen=True)
class Slice:
    """Point at the rows of one staged batch that go to one shard, whose tokens are still codes.

    They are those of `split`, a position in SPLITS, among the rows from `start` to `stop`; `is_mixed` tells that rows
    of other splits may lie between them.
    """

    label: str
    split: int
    start: int
    stop: int
    is_mixed: bool


def deal_staged(
    staged: Staged, targets: tuple[Target, ...], splitter: Splitter, design: Design, scratch: Scratch
) -> list[tuple[int, Slice]]:
    """Return (shard number, slice) pairs of a staged batch's rows; where they are of several splits, write which."""
    rows = read_rows(staged, targets, scratch)
    assigned = splitter.assign(staged, rows, scratch)
    is_mixed = bool(assigned.min() != assigned.max())
    if is_mixed:
        scratch.write_array(_splits_file(staged.label), assigned)
    dealt = []
    for split in np.unique(assigned).tolist():
        first, shards = design.first_shards[SPLITS[split]], design.shards[SPLITS[split]]
        edges = np.append(np.searchsorted(rows.place, first_places(shards)), staged.rows)
        for number, (start, stop) in enumerate(pairwise(edges.tolist())):
            if (assigned[start:stop] == split).any():
                dealt.append((first + number, Slice(staged.label, split, start, stop, is_mixed)))
    return dealt


def read_slice(part: Slice, targets: tuple[Target, ...], design: Design, scratch: Scratch) -> pa.RecordBatch:
    """Return a slice's rows with ids: PLACE, in ascending order, and the columns as wide as they are stored."""
    return _open(part, targets, scratch).take(part, targets, design)


def write_slices(
    dealt: list[tuple[int, Slice]], targets: tuple[Target, ...], design: Design, scratch: Scratch
) -> list[tuple[int, Segment]]:
    """Write the rows of a batch's slices with ids, and return where they are: a bucket gives no part of a batch."""
    _, any_part = dealt[0]
    opened = _open(any_part, targets, scratch)
    pieces = [opened.take(part, targets, design) for _, part in dealt]
    file = f"segments/{any_part.label}"
    scratch.write_batches(file, pieces)
    return [(number, Segment(file, at, pieces[at].num_rows)) for at, (number, _) in enumerate(dealt)]


@dataclass(frozen=True)
class _Opened:
    """Hold a staged batch, the splits of its rows where they are mixed, and the ids of its codes by column."""

    batch: pa.RecordBatch
    assigned: np.ndarray | None
    ids: dict[str, np.ndarray]

    def take(self, part: Slice, targets: tuple[Target, ...], design: Design) -> pa.RecordBatch:
        batch = self.batch.slice(part.start, part.stop - part.start)
        if self.assigned is not None:
            batch = batch.filter(pa.array(self.assigned[part.start : part.stop] == part.split))
        columns = map_columns(to_rows(batch, targets), targets, design.columns, design.transforms, self.ids)
        return pa.RecordBatch.from_arrays([batch.column(PLACE), *columns.values()], names=[PLACE, *columns])


def _open(part: Slice, targets: tuple[Target, ...], scratch: Scratch) -> _Opened:
    coded = [target.name for target in targets if target.vocabulary is not None]
    return _Opened(
        scratch.read_batch(rows_file(part.label)),
        scratch.map_array(_splits_file(part.label), "u1") if part.is_mixed else None,
        {name: scratch.map_array(_ids_file(part.label, name), "u4") for name in coded},
    )


def write_ids(staged: Staged, targets: tuple[Target, ...], numberings: dict[str, Numbering], scratch: Scratch) -> None:
    """Write the ids of a staged batch's tokens, for its slices to be read."""
    for name, ids in code_ids(staged, targets, numberings, scratch).items():
        scratch.write_array(_ids_file(staged.label, name), ids)


def _ids_file(label: str, column: str) -> str:
    return f"ids/{label}.{column}"


def _splits_file(label: str) -> str:
    return f"splits/{label}"
