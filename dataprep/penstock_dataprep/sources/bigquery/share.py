"""Describe the shares that a range is divided into while it is read, and tell when they are whole.

A share is what one worker reads: stretches of streams of one session. When it is split, both halves get half of its
weight. So the shares of a session that were read to their end are the whole range if and only if their weights come to
one, and no worker needs to know of any other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from penstock_dataprep.sources.bigquery.batch import KeptBatch


@dataclass(frozen=True)
class Stretch:
    """Name rows of a stream: from `first_row`, counted from 0, to before `end_row`, or to its end."""

    stream: str
    first_row: int = 0
    end_row: int | None = None


@dataclass(frozen=True)
class Session:
    """Name a session and hold its Arrow schema as an IPC message."""

    name: str
    schema: bytes


@dataclass(frozen=True)
class Share:
    """Hold what one worker reads of a range: `stretches` of `session`, all of the range where none is open yet.

    `halvings` is how often it was split.
    """

    session: Session | None = None
    stretches: tuple[Stretch, ...] = ()
    halvings: int = 0

    @property
    def weight(self) -> Fraction:
        """Return the share's part of the range, by splits, not by rows."""
        return Fraction(1, 2**self.halvings)


@dataclass(frozen=True)
class Part:
    """Hold what became of a share that was split: its rows in the scratch folder, or no longer to be had.

    `weight` is 0 where the session expired before all had come.
    """

    session: str
    weight: Fraction
    batches: tuple[KeptBatch, ...]


def whole(parts: Iterable[Part]) -> list[Part] | None:
    """Return the parts of a session that gave its range whole, None where there is none."""
    by_session: dict[str, list[Part]] = {}
    for part in parts:
        by_session.setdefault(part.session, []).append(part)
    for _, held in sorted(by_session.items()):
        if sum(part.weight for part in held) == 1:
            return sorted(held, key=lambda part: [batch.path for batch in part.batches])
    return None
