"""Find which events each row's lists hold: windows of a partition whose events are in the order of key and time."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Windows:
    """Hold one window per row to write, int64 arrays: events `starts` to `stops` of the partition are in its lists.

    Its other features are those of event `events`. Starts and stops ascend.
    """

    events: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of events of each window."""
        return self.stops - self.starts


def history_windows(keys: np.ndarray, times: np.ndarray, length: int) -> Windows:
    """Return for each event the latest `length` events of its key from before its time."""
    events = np.arange(len(keys))
    is_first = changes(keys)
    first_of_key = np.maximum.accumulate(np.where(is_first, events, 0))
    first_of_moment = np.maximum.accumulate(np.where(is_first | changes(times), events, 0))
    return Windows(events, np.maximum(first_of_key, first_of_moment - length), first_of_moment)


def sequence_windows(keys: np.ndarray, splits: np.ndarray, length: int) -> Windows:
    """Return runs of at most `length` events of one key and split, cut from the end of its events."""
    firsts = np.flatnonzero(changes(keys) | changes(splits))
    ends = np.append(firsts[1:], len(keys))
    runs = -(-(ends - firsts) // length)
    owners = np.repeat(np.arange(len(firsts)), runs)
    runs_after = np.cumsum(runs)[owners] - 1 - np.arange(len(owners))
    stops = ends[owners] - runs_after * length
    starts = np.maximum(firsts[owners], stops - length)
    return Windows(starts, starts, stops)


def members(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the events of windows end to end, int64."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def changes(values: np.ndarray) -> np.ndarray:
    """Return whether each value differs from the one before it, true for the first."""
    return np.append(True, values[1:] != values[:-1])[: len(values)]
