"""Merge the events that older versions kept with a partition's new rows, find histories, and cut what is kept on."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.histories.events import DROPPED, KEY, TIME
from penstock_dataprep.histories.windows import Windows, changes, history_windows, members

OLDER = -1


@dataclass(frozen=True)
class Merged:
    """Hold events in the order of key and time; of those at one time, older versions' come first.

    By event, `rows` is its place among the new rows, or OLDER. `keys` are edges: events `keys[i]` to `keys[i + 1]` are
    of one key. By key, `dropped` counts the events that older versions did not keep, and `floors` is the first event
    before which such may lie: where none was dropped, the key's first.
    """

    events: pa.RecordBatch
    rows: np.ndarray
    keys: np.ndarray
    dropped: np.ndarray
    floors: np.ndarray


def merge(older: pa.RecordBatch | None, new: pa.RecordBatch | None) -> Merged:
    """Merge events, both in the order of key and time and with columns of the same names, DROPPED of the older alone.

    Numbers become as wide as holds both.
    """
    parts = [held for held in (older, new) if held is not None]
    older_events = older.num_rows if older is not None else 0
    names = [name for name in parts[-1].schema.names if name != DROPPED]
    merged = pa.RecordBatch.from_arrays(
        [_concatenate([part.column(name) for part in parts]) for name in names], names=names
    )
    rows = np.arange(merged.num_rows) - older_events
    dropped = np.zeros(merged.num_rows, np.int64)
    if older is not None:
        dropped[:older_events] = older.column(DROPPED).to_numpy()
        # A stable sort, so that the order of each part is kept among events of one time.
        order = np.lexsort((merged.column(TIME).to_numpy(), merged.column(KEY).to_numpy()))
        merged, rows, dropped = merged.take(pa.array(order)), rows[order], dropped[order]
    firsts = np.flatnonzero(changes(merged.column(KEY).to_numpy()))
    dropped_by_key = np.maximum.reduceat(dropped, firsts)
    first_older = np.minimum.reduceat(np.where(rows < 0, np.arange(len(rows)), len(rows)), firsts)
    return Merged(
        merged,
        np.maximum(rows, OLDER),
        np.append(firsts, len(rows)),
        dropped_by_key,
        np.where(dropped_by_key > 0, first_older, firsts),
    )


def lay_histories(merged: Merged, length: int) -> tuple[Windows, int]:
    """Return one window for each new row whose history is known, and how many rows come too late for that.

    Of a row so late that fewer than `length` of its key's known events are before it, events that were not kept may
    be missing. A window's event is the place of its row among the new rows.
    """
    keys, times = merged.events.column(KEY).to_numpy(), merged.events.column(TIME).to_numpy()
    windows = history_windows(keys, times, length)
    sizes = np.diff(merged.keys)
    starts = np.maximum(windows.starts, np.repeat(merged.floors, sizes))
    stops = np.maximum(windows.stops, starts)
    is_late = np.repeat(merged.dropped > 0, sizes) & (stops - starts < length)
    is_new = merged.rows != OLDER
    is_known = is_new & ~is_late
    known = Windows(merged.rows[is_known], starts[is_known], stops[is_known])
    return known, int(np.count_nonzero(is_new & is_late))


def cut_tails(merged: Merged, kept: int) -> pa.RecordBatch:
    """Return the latest `kept` events of each key, DROPPED among their columns: how many of its events came before.

    Events before the floor are not kept, for which of them are the latest is not known.
    """
    ends = merged.keys[1:]
    starts = np.maximum(ends - kept, merged.floors)
    dropped = merged.dropped + starts - merged.keys[:-1]
    tails = merged.events.take(pa.array(members(starts, ends - starts)))
    return tails.append_column(DROPPED, pa.array(np.repeat(dropped, ends - starts)))


def _concatenate(arrays: list[pa.Array]) -> pa.Array:
    if len(arrays) == 1:
        return arrays[0]
    if arrays[0].null_count or arrays[1].null_count or pa.types.is_string(arrays[0].type):
        return pa.concat_arrays(arrays)
    # Arrow takes arrays of one type alone; numpy finds the type that holds both.
    return pa.array(np.concatenate([array.to_numpy() for array in arrays]))
