"""Put a partition's events in the order of key and time, and lay windows over them."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from penstock_dataprep.histories.events import KEY, SPLIT, TIME, TOKEN_PREFIX
from penstock_dataprep.histories.merge import cut_tails, lay_histories, merge
from penstock_dataprep.histories.windows import Windows, sequence_windows
from penstock_dataprep.order.cells import content
from penstock_dataprep.order.hashing import fold_lists, mix64
from penstock_dataprep.order.split import SPLITS
from penstock_dataprep.rows.mapping import Segment
from penstock_dataprep.rows.staged import PLACE
from penstock_dataprep.spec.lists import HistorySpec
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.storage.scratch import Scratch


@dataclass(frozen=True)
class Arranged:
    """Describe an arranged partition: its rows to write by split, the events in their lists, the copies dropped.

    `listed` counts an event as often as it is in a list, `longest` is of the longest list. `late` counts the rows whose
    history is no longer known, `kept` the events to keep. Where events of older versions are `merged` with the rows,
    lists are of them.
    """

    partition: int
    rows: dict[str, int]
    listed: int
    longest: int
    copies: int
    late: int = 0
    kept: int = 0
    merged: bool = False

    @property
    def rows_file(self) -> str:
        """Return the name of the scratch file of the rows in their order."""
        return f"arranged/{self.partition:05d}.rows"

    @property
    def events_file(self) -> str:
        """Return the name of the scratch file of the events that lists are of."""
        return f"arranged/{self.partition:05d}.events" if self.merged else self.rows_file

    @property
    def windows_file(self) -> str:
        """Return the name of the scratch file of the windows: PLACE, SPLIT, row, start, length."""
        return f"arranged/{self.partition:05d}.windows"

    @property
    def tails_file(self) -> str:
        """Return the name of the scratch file of the events to keep."""
        return f"arranged/{self.partition:05d}.tails"


def arrange(partition: int, segments: list[Segment], older: list[Segment], spec: Spec, scratch: Scratch) -> Arranged:
    """Write a partition's rows, events, windows and tails; memory is that of the partition, a few times its size.

    `older` are the events that older versions kept.
    """
    rows = _in_order(_read(segments, scratch))
    copies = _copies(rows) if rows is not None and spec.duplicates == "drop" else np.zeros(0, bool)
    if rows is not None and copies.any():
        rows = rows.filter(pa.array(~copies))
    if spec.history is not None:
        return _arrange_histories(partition, rows, _read(older, scratch), int(copies.sum()), spec.history, scratch)
    assert rows is not None
    windows, places = _lay_sequences(rows, spec)
    return _write(Arranged(partition, {}, 0, 0, int(copies.sum())), rows, windows, places, scratch)


def _read(segments: list[Segment], scratch: Scratch) -> pa.RecordBatch | None:
    batches = [scratch.read_batch(segment.file, segment.position) for segment in segments]
    return pa.concat_batches(batches) if batches else None


def _arrange_histories(
    partition: int,
    rows: pa.RecordBatch | None,
    older: pa.RecordBatch | None,
    copies: int,
    rules: HistorySpec,
    scratch: Scratch,
) -> Arranged:
    new = None if rows is None else rows.select([KEY, TIME, *rules.columns, *_token_columns(rows)])
    merged = merge(older, new)
    windows, late = lay_histories(merged, rules.length)
    tails = cut_tails(merged, rules.tail_length) if rules.tail_length else None
    kept = tails.num_rows if tails is not None else 0
    arranged = Arranged(partition, {}, 0, 0, copies, late, kept, older is not None)
    if tails is not None:
        scratch.write_batches(arranged.tails_file, [tails])
    if rows is None:
        return arranged
    if arranged.merged:
        scratch.write_batches(arranged.events_file, [merged.events.select(list(rules.columns))])
    return _write(arranged, rows, windows, rows.column(PLACE).to_numpy()[windows.events], scratch)


def _write(
    arranged: Arranged, rows: pa.RecordBatch, windows: Windows, places: np.ndarray, scratch: Scratch
) -> Arranged:
    """Write rows and windows, and return the description with what is known of them."""
    splits = rows.column(SPLIT).to_numpy()[windows.events]
    scratch.write_batches(arranged.rows_file, [rows.drop_columns([PLACE, KEY, SPLIT, TIME, *_token_columns(rows)])])
    parts = {PLACE: places, SPLIT: splits, "row": windows.events, "start": windows.starts, "length": windows.lengths}
    arrays = [pa.array(part) for part in parts.values()]
    scratch.write_batches(arranged.windows_file, [pa.RecordBatch.from_arrays(arrays, names=list(parts))])
    return replace(
        arranged,
        rows={split: int((splits == at).sum()) for at, split in enumerate(SPLITS)},
        listed=int(windows.lengths.sum()),
        longest=int(windows.lengths.max(initial=0)),
    )


def _token_columns(rows: pa.RecordBatch) -> list[str]:
    return [name for name in rows.schema.names if name.startswith(TOKEN_PREFIX)]


def _in_order(table: pa.RecordBatch | None) -> pa.RecordBatch | None:
    """Return rows by key, split, time and place."""
    if table is None:
        return None
    order = np.lexsort([table.column(name).to_numpy() for name in (PLACE, TIME, SPLIT, KEY)])
    return table.take(pa.array(order))


def _copies(ordered: pa.RecordBatch) -> np.ndarray:
    """Return which events equal the one before in all they carry."""
    same = np.ones(ordered.num_rows - 1, bool)
    for array in content(ordered.drop_columns(_token_columns(ordered)).columns):
        same &= array[1:] == array[:-1]
    return np.append(False, same)


def _lay_sequences(ordered: pa.RecordBatch, spec: Spec) -> tuple[Windows, np.ndarray]:
    """Return the windows and the uint64 place of each in the global order."""
    assert spec.sequences is not None
    keys, splits = (ordered.column(name).to_numpy() for name in (KEY, SPLIT))
    windows = sequence_windows(keys, splits, spec.sequences.length)
    states = np.full(len(windows.events), spec.shuffle.seed, np.uint64)
    mix64(states)
    # The runs follow each other and leave out no event.
    fold_lists(states, ordered.column(PLACE).to_numpy(), windows.lengths)
    return windows, states
