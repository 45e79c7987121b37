"""Wrap what makes histories and sequences as steps of the pipeline: (job, element, side inputs) -> outputs."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pydantic import TypeAdapter

from penstock_dataprep.design import Design, make_column, settle_after
from penstock_dataprep.histories import events
from penstock_dataprep.histories.arrange import Arranged
from penstock_dataprep.histories.arrange import arrange as arrange_partition
from penstock_dataprep.histories.gather import gather as gather_partition
from penstock_dataprep.job import Job
from penstock_dataprep.order.split import Splitter
from penstock_dataprep.progress import BOARD
from penstock_dataprep.rows.judge import check_late
from penstock_dataprep.rows.mapping import Segment
from penstock_dataprep.rows.staged import Staged
from penstock_dataprep.rows.transform import Measures
from penstock_dataprep.spec.lists import list_columns
from penstock_dataprep.spec.outputs import event_targets
from penstock_dataprep.statistics.facts import Facts
from penstock_dataprep.storage.memo import recall, remember
from penstock_dataprep.vocabularies.numbering import Numbering

# What the notes of finished work hold.
DEALT: TypeAdapter[list[tuple[int, Segment]]] = TypeAdapter(list[tuple[int, Segment]])
ARRANGED: TypeAdapter[Arranged] = TypeAdapter(Arranged)


def map_events(
    job: Job,
    staged: Staged,
    splitter: Splitter,
    facts: Facts,
    measures: Measures,
    numbered: list[tuple[str, Numbering]],
    indexes: list[int],
) -> Iterator[tuple[int, Segment]]:
    """Yield, by partition of keys, where the staged batch's events with ids are."""
    BOARD.start("map", facts.valid)
    note = f"events/{staged.label}"
    dealt = recall(job.scratch, note, DEALT)
    if dealt is None:
        plan = _plan(job, facts, measures, numbered)
        dealt = events.map_events(staged, job.targets, plan, splitter, dict(numbered), job.scratch)
        remember(job.scratch, note, DEALT, dealt)
    yield from dealt
    BOARD.advance("map", staged.rows)


def _plan(job: Job, facts: Facts, measures: Measures, numbered: list[tuple[str, Numbering]]) -> events.EventPlan:
    rules, time = job.spec.list_rules, job.spec.role("time")
    assert rules is not None
    assert time is not None
    targets = event_targets(job.spec, job.targets)
    transforms = settle_after(job.parent.features if job.parent else (), targets, measures)
    columns = tuple(make_column(target, facts, dict(numbered), transforms.get(target.name)) for target in targets)
    tokens = tuple(job.token_vocabularies()) if job.spec.history and job.spec.history.tail_length else ()
    bits = job.key_partition_bits(facts.valid)
    return events.EventPlan(targets, columns, transforms, rules.key, time, tokens, bits)


def arrange(job: Job, grouped: tuple[int, dict[str, Iterable[Segment]]]) -> Iterator[Arranged]:
    """Yield a description of one partition whose events are in order."""
    partition, segments = grouped
    note = f"arrange/{partition:05d}"
    arranged = recall(job.scratch, note, ARRANGED)
    if arranged is None:
        arranged = arrange_partition(partition, list(segments["rows"]), list(segments["older"]), job.spec, job.scratch)
        remember(job.scratch, note, ARRANGED, arranged)
    yield arranged


def count_rows(job: Job, arranged: Arranged) -> Iterator[Counter[str]]:
    """Yield a partition's rows to write by split."""
    yield Counter(arranged.rows)


def measure(job: Job, _: None, facts: Facts, partitions: list[Arranged]) -> Iterator[Facts]:
    """Yield the facts with those of the list features, whose values are among their columns'."""
    rows = sum(sum(arranged.rows.values()) for arranged in partitions)
    listed = sum(arranged.listed for arranged in partitions)
    longest = max((arranged.longest for arranged in partitions), default=0)
    BOARD.start("collect", rows)
    lists = {
        name: replace(facts.features[column], rows=rows, nulls=0, values=listed, longest=longest)
        for name, column in list_columns(job.spec).items()
    }
    copies, late = (sum(getattr(arranged, name) for arranged in partitions) for name in ("copies", "late"))
    check_late(facts, late, job)
    yield replace(facts, features=facts.features | lists, copies=copies, late=late)


def gather(job: Job, arranged: Arranged, design: Design) -> Iterator[tuple[int, Segment]]:
    """Yield, by shard, where a partition's rows with their lists are."""
    note = f"gather/{arranged.partition:05d}"
    dealt = recall(job.scratch, note, DEALT)
    if dealt is None:
        rules = job.spec.list_rules
        assert rules is not None
        dealt = gather_partition(arranged, list_columns(job.spec), rules.length, design, job.scratch)
        remember(job.scratch, note, DEALT, dealt)
    yield from dealt
    BOARD.advance("collect", sum(arranged.rows.values()))
