"""Put a partition's events in the order of key and time, and lay windows over them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.histories.events import KEY, SPLIT, TIME
from penstock_dataprep.histories.windows import Windows, history_windows, sequence_windows
from penstock_dataprep.order.cells import content
from penstock_dataprep.order.hashing import fold_lists, mix64
from penstock_dataprep.order.split import SPLITS
from penstock_dataprep.rows.mapping import Segment
from penstock_dataprep.rows.staged import PLACE
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.storage.scratch import Scratch


@dataclass(frozen=True)
class Arranged:
    """Describe an arranged partition: its rows to write by split, the events in their lists, the copies dropped.

    `listed` counts an event as often as it is in a list, `longest` is of the longest list.
    """

    partition: int
    rows: dict[str, int]
    listed: int
    longest: int
    copies: int

    @property
    def events_file(self) -> str:
        """Return the name of the scratch file of the events in their order."""
        return f"arranged/{self.partition:05d}.events"

    @property
    def windows_file(self) -> str:
        """Return the name of the scratch file of the windows: PLACE, SPLIT, event, start, length."""
        return f"arranged/{self.partition:05d}.windows"


def arrange(partition: int, segments: list[Segment], spec: Spec, scratch: Scratch) -> Arranged:
    """Write a partition's events and windows; memory is that of the partition, a few times its size on disk."""
    ordered = _in_order(segments, scratch)
    copies = _copies(ordered) if spec.duplicates == "drop" else np.zeros(0, bool)
    if copies.any():
        ordered = ordered.filter(pa.array(~copies))
    windows, places = _lay_windows(ordered, spec)
    splits = ordered.column(SPLIT).to_numpy()[windows.events]
    arranged = Arranged(
        partition,
        rows={split: int((splits == at).sum()) for at, split in enumerate(SPLITS)},
        listed=int(windows.lengths.sum()),
        longest=int(windows.lengths.max(initial=0)),
        copies=int(copies.sum()),
    )
    events = ordered.drop_columns([PLACE, KEY, SPLIT, TIME])
    scratch.write_batches(arranged.events_file, [events])
    parts = {PLACE: places, SPLIT: splits, "event": windows.events, "start": windows.starts, "length": windows.lengths}
    arrays = [pa.array(part) for part in parts.values()]
    scratch.write_batches(arranged.windows_file, [pa.RecordBatch.from_arrays(arrays, names=list(parts))])
    return arranged


def _in_order(segments: list[Segment], scratch: Scratch) -> pa.RecordBatch:
    """Return the segments' events by key, split, time and place."""
    table = pa.concat_batches([scratch.read_batch(segment.file, segment.position) for segment in segments])
    order = np.lexsort([table.column(name).to_numpy() for name in (PLACE, TIME, SPLIT, KEY)])
    return table.take(pa.array(order))


def _copies(ordered: pa.RecordBatch) -> np.ndarray:
    """Return which events equal the one before in all they carry."""
    same = np.ones(ordered.num_rows - 1, bool)
    for array in content(ordered.columns):
        same &= array[1:] == array[:-1]
    return np.append(False, same)


def _lay_windows(ordered: pa.RecordBatch, spec: Spec) -> tuple[Windows, np.ndarray]:
    """Return the windows and the uint64 place of each in the global order."""
    keys, places = ordered.column(KEY).to_numpy(), ordered.column(PLACE).to_numpy()
    if spec.history is not None:
        return history_windows(keys, ordered.column(TIME).to_numpy(), spec.history.length), places
    assert spec.sequences is not None
    windows = sequence_windows(keys, ordered.column(SPLIT).to_numpy(), spec.sequences.length)
    states = np.full(len(windows.events), spec.shuffle.seed, np.uint64)
    mix64(states)
    # The runs follow each other and leave out no event.
    fold_lists(states, places, windows.lengths)
    return windows, states
