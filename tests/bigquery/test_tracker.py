"""Hold the splitting of shares to its one duty: every row is in exactly one share, wherever it is split."""

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.sources.bigquery.share import Part, Session, Share, Stretch, whole
from penstock_dataprep.sources.bigquery.tracker import Ended, Finished, Lost, Opened, ShareTracker, Taken

SESSION = Session("s", b"")


class Streams:
    """Stand for streams of known rows: `rows` holds, by name, the rows as they were numbered at first."""

    def __init__(self, sizes: list[int]) -> None:
        self.rows = {f"s{number}": [(number, row) for row in range(size)] for number, size in enumerate(sizes)}

    def split(self, stream: str, rows_read: int, fraction: float) -> tuple[str, str] | None:
        """Split a stream, unless its halves would be empty or its first half read already."""
        rows = self.rows[stream]
        middle = int(len(rows) * fraction)
        if not max(rows_read, 0) < middle < len(rows):
            return None
        self.rows[f"{stream}l"], self.rows[f"{stream}r"] = rows[:middle], rows[middle:]
        return f"{stream}l", f"{stream}r"


class Reader:
    """Read one share in the order that a test draws."""

    def __init__(self, streams: Streams, share: Share) -> None:
        self.streams, self.tracker = streams, ShareTracker(share, streams.split)
        self.found: list[tuple[int, int]] = []
        self._at: dict[str, int] = {}

    def step(self, turn: int, rows_wanted: int) -> bool:
        """Read a message of one of the stretches; return whether there was any left."""
        for stretch in self.tracker.current_restriction().stretches:
            self._at.setdefault(stretch.stream, stretch.first_row)
        under_way = [stretch for stretch in self.tracker.current_restriction().stretches if self._left(stretch)]
        if not under_way:
            return False
        stretch = under_way[turn % len(under_way)]
        rows, first = self.streams.rows[stretch.stream], self._at[stretch.stream]
        end = min(first + rows_wanted, len(rows) if stretch.end_row is None else stretch.end_row)
        assert self.tracker.try_claim(Taken(stretch.stream, first, end - first, end / len(rows)))
        self.found += rows[first:end]
        self._at[stretch.stream] = end
        if end == len(rows) and stretch.end_row is None:
            assert self.tracker.try_claim(Ended(stretch.stream))
        return True

    def _left(self, stretch: Stretch) -> bool:
        at = self._at[stretch.stream]
        if stretch.end_row is None and at == len(self.streams.rows[stretch.stream]):
            self.tracker.try_claim(Ended(stretch.stream))
            return False
        return at != stretch.end_row


@given(st.integers(0, 2**32), st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_every_row_is_in_one_share_and_a_share_begun_anew_has_the_same(seed: int, sizes: list[int]) -> None:
    drawn = random.Random(seed)
    streams = Streams(sizes)
    pending = [Share(SESSION, tuple(map(Stretch, streams.rows)))]
    expected = sorted(row for rows in streams.rows.values() for row in rows)
    found, parts = [], []
    while pending:
        reader = Reader(streams, pending.pop())
        while True:
            what = drawn.randrange(10)
            if what == 0:  # The worker died: another has the share as it was left.
                reader = Reader(streams, reader.tracker.current_restriction())
            elif what < 3 and len(pending) < 6:
                split = reader.tracker.try_split(drawn.choice([0.0, 0.01, 0.3, 0.5, 0.9, 0.99]))
                if split is not None:
                    assert split[0] == reader.tracker.current_restriction()
                    pending.append(split[1])
            elif not reader.step(what, drawn.randint(1, 20)):
                break
        assert reader.tracker.try_claim(Finished())
        reader.tracker.check_done()
        assert reader.tracker.try_split(0.5) is None
        found += reader.found
        parts.append(Part("s", reader.tracker.current_restriction().weight, ()))
    assert sorted(found) == expected
    assert whole(parts) is not None
    assert whole(parts[1:]) is None


def opened(*sizes: int) -> ShareTracker:
    streams = Streams(list(sizes))
    tracker = ShareTracker(Share(), streams.split)
    assert tracker.try_claim(Opened(SESSION, tuple(streams.rows)))
    return tracker


@pytest.mark.parametrize(
    ("fraction", "kept"),
    [
        # fraction to keep, streams kept of four of which nothing is read
        (0.0, 0),
        (0.01, 1),
        (0.25, 1),
        (0.5, 2),
        (0.75, 3),
        (0.99, 3),
    ],
)
def test_streams_are_given_away_before_any_is_split(fraction: float, kept: int) -> None:
    mine, rest = opened(10, 10, 10, 10).try_split(fraction)
    assert [held.stream for held in mine.stretches] == ["s0", "s1", "s2", "s3"][:kept]
    assert [held.stream for held in rest.stretches] == ["s0", "s1", "s2", "s3"][kept:]


def test_a_stream_is_given_away_at_the_row_it_was_read_to() -> None:
    tracker = opened(10, 10)
    assert tracker.try_claim(Taken("s0", 0, 9, 0.9))
    assert tracker.try_claim(Taken("s1", 0, 4, 0.4))
    mine, rest = tracker.try_split(0.1)
    assert mine == Share(SESSION, (Stretch("s0"), Stretch("s1", 0, 4)), 1)
    assert rest == Share(SESSION, (Stretch("s1", 4),), 1)
    assert not tracker.try_claim(Taken("s1", 4, 1, 0.5))
    assert not tracker.try_claim(Ended("s1"))
    assert tracker.try_claim(Taken("s0", 9, 1, 1.0))
    assert not tracker.try_claim(Finished())
    assert tracker.try_claim(Ended("s0"))
    assert tracker.try_claim(Finished())


def test_the_last_stream_is_halved_behind_what_is_read() -> None:
    tracker = opened(100)
    assert tracker.try_claim(Taken("s0", 0, 20, 0.2))
    assert tracker.try_split(0.5) == (
        Share(SESSION, (Stretch("s0", 0, 20), Stretch("s0l", 20)), 1),
        Share(SESSION, (Stretch("s0r"),), 1),
    )
    assert not tracker.try_claim(Taken("s0", 20, 1, 0.21))
    assert tracker.try_claim(Taken("s0l", 20, 40, 1.0))


def test_a_session_that_expired_is_opened_anew_only_while_the_range_is_whole() -> None:
    tracker = opened(10, 10)
    assert tracker.try_claim(Taken("s0", 0, 5, 0.5))
    assert tracker.try_claim(Lost())
    assert tracker.current_restriction() == Share()
    assert tracker.try_split(0.5) is None
    assert tracker.try_claim(Opened(SESSION, ("s0", "s1")))
    assert tracker.try_claim(Taken("s0", 0, 5, 0.5))
    assert tracker.try_split(0.5) is not None
    assert not tracker.try_claim(Lost())
    tracker.check_done()
    assert tracker.try_split(0.5) is None


def test_a_share_that_is_not_read_to_its_end_is_not_done() -> None:
    tracker = opened(10)
    with pytest.raises(ValueError, match=r"not read to the end: \['s0'\]"):
        tracker.check_done()
    bounded = ShareTracker(Share(SESSION, (Stretch("s0", 0, 10),), 1), Streams([10]).split)
    assert bounded.try_claim(Taken("s0", 0, 9, 0.9))
    assert not bounded.try_claim(Ended("s0"))
    assert not bounded.try_claim(Finished())
    assert bounded.try_split(0.5) is None


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # (session, denominator of the weight, 0 for lost), session found to be whole
        ([("a", 2), ("a", 2)], "a"),
        ([("a", 2), ("a", 4), ("a", 4)], "a"),
        ([("a", 2), ("a", 4)], None),
        ([("a", 2), ("a", 0)], None),
        ([("a", 2), ("b", 2)], None),
        ([("a", 2), ("b", 2), ("b", 2)], "b"),
        ([], None),
    ],
)
def test_parts_are_whole_when_their_weights_come_to_one(weights: list[tuple[str, int]], expected: str | None) -> None:
    parts = [Part(session, Fraction(1, weight) if weight else Fraction(0), ()) for session, weight in weights]
    found = whole(parts)
    assert (None if found is None else {part.session for part in found}) == (expected and {expected})


def test_progress_counts_streams() -> None:
    tracker = ShareTracker(Share(), Streams([1]).split)
    assert tracker.current_progress().fraction_completed == 0
    tracker = opened(10, 10, 10, 10)
    assert tracker.try_claim(Taken("s0", 0, 5, 0.5))
    assert tracker.current_progress().fraction_completed == 0.125
    assert tracker.is_bounded()
