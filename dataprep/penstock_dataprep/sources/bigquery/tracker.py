"""Track how far a share is read, and split what is left of it when a runner has idle workers."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker

from penstock_dataprep.sources.bigquery.share import Session, Share, Stretch

# Split a stream, of which rows before the first number are read, at a fraction: two streams, or None if it will not be.
SplitStream = Callable[[str, int, float], tuple[str, str] | None]


class Opened(NamedTuple):
    """Claim that a session of `streams` was opened for the range."""

    session: Session
    streams: tuple[str, ...]


class Lost(NamedTuple):
    """Claim that the session expired. It is granted where the range is still whole and can be read anew."""


class Taken(NamedTuple):
    """Claim rows of a stream that have come; `progress` is how much of the stream has, from 0 to 1."""

    stream: str
    first_row: int
    rows: int
    progress: float


class Ended(NamedTuple):
    """Claim that a stream has come to its end."""

    stream: str


class Finished(NamedTuple):
    """Claim that all has come: from then on nothing is given away. It is refused where a stretch is left."""


Claim = Opened | Lost | Taken | Ended | Finished


class Claims(Protocol):
    """Grant claims to the threads that read a share, or refuse them for what was given away meanwhile."""

    def current_restriction(self) -> Share:
        """Return what the share is by now."""

    def try_claim(self, position: Claim) -> bool:
        """Tell whether a claim is granted."""


class ShareTracker(RestrictionTracker):
    """Track one share; Beam sees to it that one thread at a time calls.

    A split gives streams away, at the row that they were read to, and the last stream in two halves that BigQuery makes
    of it. Rows that were claimed stay, and what was given away can be claimed no more.
    """

    def __init__(self, share: Share, split_stream: SplitStream) -> None:
        self._split_stream = split_stream
        self._finished = False
        self._begin(share)

    def _begin(self, share: Share) -> None:
        self._share = share
        self._reached = {stretch.stream: stretch.first_row for stretch in share.stretches}
        self._progress = dict.fromkeys(self._reached, 0.0)
        self._ended: set[str] = set()

    def current_restriction(self) -> Share:
        """Return what the share is by now, with what is read of it."""
        return self._share

    def try_claim(self, position: Claim) -> bool:
        """Tell whether a claim is granted."""
        match position:
            case Opened(session, streams):
                self._begin(Share(session, tuple(map(Stretch, streams))))
                return True
            case Lost():
                self._finished = self._share.halvings > 0
                if not self._finished:
                    self._begin(Share())
                return not self._finished
            case Taken(stream, first_row, rows, progress):
                if stream not in self._open() or self._reached[stream] != first_row:
                    return False
                self._reached[stream] += rows
                self._progress[stream] = min(max(progress, self._progress[stream]), 1.0)
                return True
            case Ended(stream):
                stretch = self._open().get(stream)
                if stretch is None or stretch.end_row is not None:
                    return False
                self._ended.add(stream)
                return True
            case Finished():
                self._finished = not self._open()
                return self._finished

    def _open(self) -> dict[str, Stretch]:
        """Return the stretches of which rows are still to come."""
        return {
            stretch.stream: stretch
            for stretch in self._share.stretches
            if stretch.stream not in self._ended
            and (stretch.end_row is None or self._reached[stretch.stream] < stretch.end_row)
        }

    def try_split(self, fraction_of_remainder: float) -> tuple[Share, Share] | None:
        """Keep about that fraction of what is left; return (what is kept and read, what is given away), or None."""
        left = list(self._open().values())
        if self._finished or not left:
            return None
        if len(left) > 1 or fraction_of_remainder == 0:
            split = self._give_streams(left, fraction_of_remainder)
        else:
            split = self._halve(left[0], fraction_of_remainder)
        if split is None:
            return None
        kept, given = split
        halvings = self._share.halvings + 1
        self._share = replace(self._share, stretches=kept, halvings=halvings)
        return self._share, replace(self._share, stretches=given)

    def _give_streams(
        self, left: list[Stretch], fraction: float
    ) -> tuple[tuple[Stretch, ...], tuple[Stretch, ...]] | None:
        wanted = fraction * sum(1 - self._progress[stretch.stream] for stretch in left)
        kept = 0
        while kept < len(left) - 1 and (wanted > 0 or (kept == 0 and fraction > 0)):
            wanted -= 1 - self._progress[left[kept].stream]
            kept += 1
        given = left[kept:]
        rest = tuple(self._from_here(stretch) for stretch in given)
        return tuple(held for stretch in self._share.stretches for held in self._cut(stretch, given)), rest

    def _halve(self, stretch: Stretch, fraction: float) -> tuple[tuple[Stretch, ...], tuple[Stretch, ...]] | None:
        if stretch.end_row is not None:
            return None
        reached, done = self._reached[stretch.stream], self._progress[stretch.stream]
        halves = self._split_stream(stretch.stream, reached, done + (1 - done) * fraction)
        if halves is None:
            return None
        near, far = halves
        self._reached[near], self._progress[near] = reached, done
        kept = [held for own in self._share.stretches for held in self._cut(own, [stretch])]
        return (*kept, Stretch(near, reached)), (Stretch(far),)

    def _from_here(self, stretch: Stretch) -> Stretch:
        return replace(stretch, first_row=self._reached[stretch.stream])

    def _cut(self, stretch: Stretch, given: list[Stretch]) -> list[Stretch]:
        """Return what is kept of a stretch: where its rest is given away, the rows that have come, if any."""
        if stretch not in given:
            return [stretch]
        reached = self._reached[stretch.stream]
        return [replace(stretch, end_row=reached)] if reached > stretch.first_row else []

    def check_done(self) -> None:
        """Raise ValueError where rows are still to come, as Beam wants it."""
        if not self._finished:
            raise ValueError(f"not read to the end: {sorted(self._open())}")

    def current_progress(self) -> RestrictionProgress:
        """Return how much has come, a stream counting one."""
        if self._share.session is None:
            return RestrictionProgress(completed=0.0, remaining=1.0)
        remaining = sum(1 - self._progress[stream] for stream in self._open())
        return RestrictionProgress(completed=len(self._share.stretches) - remaining, remaining=remaining)

    def is_bounded(self) -> bool:
        """Return True: a range has an end."""
        return True
