"""Hold the windows of histories and sequences to plain Python, on random small logs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.histories.windows import history_windows, members, sequence_windows

EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(-2, 4)), max_size=40).map(sorted)
LENGTHS = st.integers(1, 6)


def columns(events: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (keys, splits, times)."""
    table = np.array(events, np.int64).reshape(-1, 3)
    return table[:, 0].astype(np.uint64), table[:, 1].astype(np.uint8), table[:, 2]


@given(EVENTS, LENGTHS)
def test_a_history_is_the_latest_events_of_the_key_from_before_the_time(
    events: list[tuple[int, int, int]], length: int
) -> None:
    events = sorted(events, key=lambda event: (event[0], event[2]))
    keys, _, times = columns(events)
    windows = history_windows(keys, times, length)
    for row, (key, _, time) in enumerate(events):
        earlier = [at for at, other in enumerate(events) if other[0] == key and other[2] < time]
        assert list(range(windows.starts[row], windows.stops[row])) == earlier[-length:]
    assert windows.events.tolist() == list(range(len(events)))


@given(EVENTS, LENGTHS)
def test_sequences_tile_the_events_of_a_key_and_split(events: list[tuple[int, int, int]], length: int) -> None:
    keys, splits, _ = columns(events)
    windows = sequence_windows(keys, splits, length)
    expected = []
    for owner in sorted({event[:2] for event in events}):
        held = [at for at, event in enumerate(events) if event[:2] == owner]
        first = len(held) % length
        expected += [held[:first]] * (first > 0)
        expected += [held[at : at + length] for at in range(first, len(held), length)]
    assert [list(range(*window)) for window in zip(windows.starts, windows.stops, strict=True)] == expected
    assert windows.events.tolist() == [held[0] for held in expected]


@given(EVENTS, LENGTHS)
def test_members_of_windows_come_end_to_end(events: list[tuple[int, int, int]], length: int) -> None:
    keys, _, times = columns(sorted(events, key=lambda event: (event[0], event[2])))
    windows = history_windows(keys, times, length)
    expected = [at for start, stop in zip(windows.starts, windows.stops, strict=True) for at in range(start, stop)]
    assert members(windows.starts, windows.lengths).tolist() == expected
