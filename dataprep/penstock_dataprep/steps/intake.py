"""Take in the source: read, validate and stage it, or recall what an earlier attempt staged, and judge it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from apache_beam.pvalue import TaggedOutput
from pydantic import TypeAdapter

from penstock_dataprep.job import Job
from penstock_dataprep.progress import BOARD
from penstock_dataprep.rows.elements import ReadBatch, ValidBatch
from penstock_dataprep.rows.judge import check_facts
from penstock_dataprep.rows.rejects import write_rejects
from penstock_dataprep.rows.staged import Staged
from penstock_dataprep.rows.staged import stage as stage_batch
from penstock_dataprep.rows.transform import transform_valid
from penstock_dataprep.rows.validate import validate as validate_batch
from penstock_dataprep.sources import Piece, Unit
from penstock_dataprep.statistics.facts import Facts
from penstock_dataprep.storage.memo import recall, remember

# What the notes of finished work hold.
LABELS: TypeAdapter[list[str]] = TypeAdapter(list[str])
STAGED: TypeAdapter[tuple[Staged | None, Facts]] = TypeAdapter(tuple[Staged | None, Facts])


def recall_unit(job: Job, numbered_unit: tuple[int, Unit]) -> Iterator[Staged | TaggedOutput]:
    """Yield what an earlier attempt staged of a unit, or the unit itself as unfinished."""
    number, _ = numbered_unit
    labels = recall(job.scratch, f"read/{job.label(number)}", LABELS)
    notes = [recall(job.scratch, f"stage/{label}", STAGED) for label in labels or ()]
    if labels is None or None in notes:
        yield TaggedOutput("unfinished", numbered_unit)
        return
    for staged, facts in filter(None, notes):
        if staged is not None:
            yield staged
        BOARD.advance("read", facts.read)
        yield TaggedOutput("facts", facts)


def read(job: Job, numbered_unit: tuple[int, Unit]) -> Iterator[ReadBatch]:
    """Yield the labelled batches of one unit of the source."""
    number, unit = numbered_unit
    yield from hand_on(job, number, job.origin.read(unit, source_columns(job)))


def source_columns(job: Job) -> list[str]:
    """Return the columns that are read."""
    return sorted({target.source for target in job.targets})


def hand_on(job: Job, number: int, pieces: Iterable[Piece], attempt: str = "") -> Iterator[ReadBatch]:
    """Yield the pieces of a unit as labelled batches, and note the labels.

    Where another attempt would cut the unit into other pieces, `attempt` is its name: then no batch that it left, or
    still writes, is taken for one of this.
    """
    labels = []
    for place, piece in enumerate(pieces):
        labels.append(f"{job.label(number)}-{attempt}{place:04d}")
        yield ReadBatch(labels[-1], piece)
    remember(job.scratch, f"read/{job.label(number)}", LABELS, labels)


def validate(job: Job, read_batch: ReadBatch) -> Iterator[ValidBatch]:
    """Yield the valid rows and what was measured; rejected rows go to their file."""
    label = read_batch.label
    valid, rejects = validate_batch(read_batch.piece.decode(), job.targets)
    valid = transform_valid(valid, job.targets)
    facts = Facts.of(valid, rejects, job.targets)
    facts.reject_files = write_rejects(rejects, label, job.base, job.version)
    yield ValidBatch(label, valid, facts)


def stage(job: Job, valid: ValidBatch) -> Iterator[Staged | TaggedOutput]:
    """Yield a reference to the staged batch, and the facts."""
    facts, staged = valid.facts, None
    if valid.batch.num_rows:
        staged = stage_batch(valid.batch, job.targets, job.spec.shuffle.seed, valid.label, job.scratch)
        facts = replace(facts, tokens=Counter(staged.tokens))
        yield staged
    remember(job.scratch, f"stage/{valid.label}", STAGED, (staged, facts))
    BOARD.advance("read", facts.read)
    yield TaggedOutput("facts", facts)


def merge_facts(parts: Iterable[Facts]) -> Facts:
    """Return the facts of all batches."""
    merged = Facts()
    for part in parts:
        merged = merged.merge(part)
    return merged


def judge(job: Job, facts: Facts) -> Iterator[Facts]:
    """Yield the facts if the source may become a dataset, and refuse it otherwise."""
    check_facts(facts, job)
    if job.table is None:
        BOARD.start("count", facts.valid)
    yield facts
