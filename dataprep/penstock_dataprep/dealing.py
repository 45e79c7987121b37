"""Lay out the steps from staged batches to the segments of shards: of plain rows, and of histories or sequences."""

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton, PCollection

from penstock_dataprep import steps
from penstock_dataprep.job import Job
from penstock_dataprep.phases import step_of


def deal_rows(
    pipeline: beam.Pipeline,
    job: Job,
    staged: PCollection,
    splitter: AsSingleton,
    judged: AsSingleton,
    sizes: PCollection,
    measured: AsSingleton,
    numbered: AsList,
    indexes: AsList,
) -> tuple[AsSingleton, AsSingleton, PCollection, PCollection]:
    """Return (facts of the features, design, segments by shard, files of kept events) of a dataset of plain rows."""
    step = step_of(job)
    design = _design(pipeline, step, judged, sizes, measured, numbered)
    segments = staged | "MapAndDeal" >> step(steps.shards.map_batch, splitter, design, numbered, indexes)
    return judged, design, segments, pipeline | "NoTails" >> beam.Create([], reshuffle=False)


def deal_lists(
    pipeline: beam.Pipeline,
    job: Job,
    staged: PCollection,
    splitter: AsSingleton,
    judged: AsSingleton,
    _sizes: PCollection,
    measured: AsSingleton,
    numbered: AsList,
    indexes: AsList,
) -> tuple[AsSingleton, AsSingleton, PCollection, PCollection]:
    """Return the same of a dataset of histories or sequences, whose rows are made from a key's events in order."""
    step = step_of(job)
    older = (
        pipeline
        | "OlderFiles" >> beam.Create(list(range(len(job.parent_tails.files if job.parent_tails else ()))))
        | "ReadOlder" >> step(steps.tails.read_older, judged, numbered, indexes)
    )
    rows = staged | "MapEvents" >> step(steps.events.map_events, splitter, judged, measured, numbered, indexes)
    arranged = (
        {"rows": rows, "older": older} | "GroupKeys" >> beam.CoGroupByKey() | "Arrange" >> step(steps.events.arrange)
    )
    facts = AsSingleton(
        pipeline | "Lists" >> beam.Create([None]) | "Measure" >> step(steps.events.measure, judged, AsList(arranged))
    )
    sizes = arranged | "CountRows" >> step(steps.events.count_rows)
    design = _design(pipeline, step, facts, sizes, measured, numbered)
    segments = arranged | "Gather" >> step(steps.events.gather, design)
    return facts, design, segments, arranged | "WriteTails" >> step(steps.tails.write_tails, design, facts)


def _design(
    pipeline: beam.Pipeline,
    step: Any,
    facts: AsSingleton,
    sizes: PCollection,
    measured: AsSingleton,
    numbered: AsList,
) -> AsSingleton:
    lay_out = step(steps.shards.lay_out, facts, AsList(sizes), measured, numbered)
    return AsSingleton(pipeline | "Design" >> beam.Create([None]) | "LayOut" >> lay_out)
