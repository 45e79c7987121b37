"""Read ranges of a BigQuery table, or shares of them, and put the shares of a range together again."""

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain, islice

from apache_beam.pvalue import TaggedOutput

from penstock_dataprep.job import Job
from penstock_dataprep.rows.elements import ReadBatch
from penstock_dataprep.sources import Unit
from penstock_dataprep.sources.bigquery.batch import KeptBatch, RawBatch
from penstock_dataprep.sources.bigquery.session import PLACE, REMEDY, SessionLostError
from penstock_dataprep.sources.bigquery.share import Part, Share, whole
from penstock_dataprep.sources.bigquery.table import TableOrigin
from penstock_dataprep.sources.bigquery.tracker import Claims
from penstock_dataprep.steps.intake import hand_on, source_columns
from penstock_shared.errors import PenstockError


def read(job: Job, numbered_unit: tuple[int, Unit], claims: Claims) -> Iterator[ReadBatch | TaggedOutput]:
    """Yield the batches of a range that was not split while it was read, or (number, Part) of a share of one."""
    number, unit = numbered_unit
    pieces, share = _pieces(job, unit, claims), claims.current_restriction()
    if share.halvings == 0 and pieces is not None:
        yield from hand_on(job, number, pieces, _attempt(_session(share)))
    else:
        yield TaggedOutput("parts", (number, _keep(job, number, pieces, share)))


def read_again(job: Job, numbered_unit: tuple[int, Unit], claims: Claims) -> Iterator[tuple[int, Part]]:
    """Yield (number, Part) of a range that was lost, or of a share of it."""
    number, unit = numbered_unit
    pieces = _pieces(job, unit, claims)
    yield number, _keep(job, number, pieces, claims.current_restriction())


def join(job: Job, numbered_parts: tuple[int, Iterable[Part]]) -> Iterator[ReadBatch | TaggedOutput]:
    """Yield the batches of a range all of whose shares have come, or the range as one that was lost."""
    number, parts = numbered_parts
    found = whole(parts)
    if found is None:
        yield TaggedOutput("lost", (number, job.units[number]))
    else:
        yield from hand_on(job, number, _numbered(found), _attempt(found[0].session))


def join_again(job: Job, numbered_parts: tuple[int, Iterable[Part]]) -> Iterator[ReadBatch]:
    """Yield the batches of a range. Raises PenstockError for one that was lost again."""
    for batch in join(job, numbered_parts):
        if isinstance(batch, TaggedOutput):
            raise PenstockError(f"{PLACE}: {batch.value[1]}: sessions expired twice while workers shared it; {REMEDY}")
        yield batch


def _pieces(job: Job, unit: Unit, claims: Claims) -> Iterator[RawBatch] | None:
    """Return the batches of a share once all have come, from when on nothing is given away, or None if it was lost."""
    assert isinstance(job.origin, TableOrigin)
    pieces = job.origin.read_share(unit, source_columns(job), claims)
    try:
        return chain(list(islice(pieces, 1)), pieces)
    except SessionLostError:
        return None


def _keep(job: Job, number: int, pieces: Iterator[RawBatch] | None, share: Share) -> Part:
    # A name of its own, since a runner may have two workers try the same share.
    folder = f"shares/{job.label(number)}/{uuid.uuid4().hex}"
    kept = tuple(piece.keep(job.scratch, f"{folder}/{place:04d}.arrows") for place, piece in enumerate(pieces or ()))
    return Part(_session(share), Fraction(0) if pieces is None else share.weight, kept)


def _numbered(parts: list[Part]) -> Iterator[KeptBatch]:
    """Yield all batches, their rows counted through."""
    first_row = 0
    for batch in chain.from_iterable(part.batches for part in parts):
        yield replace(batch, first_row=first_row)
        first_row += batch.rows


def _session(share: Share) -> str:
    assert share.session is not None
    return share.session.name


def _attempt(session: str) -> str:
    return f"{hashlib.sha256(session.encode()).hexdigest()[:8]}-"
