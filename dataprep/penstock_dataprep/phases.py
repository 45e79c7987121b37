"""Lay out the labelled steps that a log and an entity table have in common, and those of a table alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton, PCollection

from penstock_dataprep import steps
from penstock_dataprep.engine.dofn import Step, ThreadedStep
from penstock_dataprep.job import Job
from penstock_dataprep.rows.elements import ReadBatch, ValidBatch
from penstock_dataprep.rows.transform import merge_measures


def step_of(job: Job) -> Callable[..., beam.ParDo]:
    """Return a function that makes a step of a function of the job, an element and side inputs."""

    def step(function: Any, *side_inputs: Any) -> beam.ParDo:
        return beam.ParDo(ThreadedStep(function, job), *side_inputs)

    return step


def label_prefix(job: Job) -> str:
    """Return what the labels of a table's steps start with."""
    return "" if job.table is None else f"{job.table}/"


@dataclass(frozen=True)
class Intake:
    """Hold what was read: references to staged batches, and the facts of all of them."""

    staged: PCollection
    facts: PCollection


@dataclass(frozen=True)
class Counted:
    """Hold merged token counts by vocabulary and hash partition, rows by split, and what transforms need to know."""

    merged: PCollection
    sizes: PCollection
    measured: AsSingleton


def take_in(pipeline: beam.Pipeline, job: Job) -> Intake:
    """Read, validate, transform and stage every row of a job's source."""
    step, prefix = step_of(job), label_prefix(job)
    recalled, unfinished, recalled_facts = (
        pipeline
        | f"{prefix}Units" >> beam.Create(list(enumerate(job.units)))
        | f"{prefix}Recall" >> step(steps.intake.recall_unit).with_outputs("unfinished", "facts", main="staged")
    )
    staged, facts = [recalled], [recalled_facts]
    for name, read in _read(job, unfinished).items():
        # Each kind in steps of its own: a runner may keep all rows of what is brought together before them.
        new, new_facts = (
            read
            | f"{prefix}Validate{name}" >> step(steps.intake.validate).with_output_types(ValidBatch)
            | f"{prefix}Stage{name}" >> step(steps.intake.stage).with_outputs("facts", main="staged")
        )
        staged.append(new)
        facts.append(new_facts)
    all_staged = staged | f"{prefix}Staged" >> beam.Flatten()
    all_facts = facts | f"{prefix}Facts" >> beam.Flatten()
    merged = all_facts | f"{prefix}MergeFacts" >> beam.CombineGlobally(steps.intake.merge_facts)
    return Intake(all_staged, merged | f"{prefix}Judge" >> step(steps.intake.judge))


def _read(job: Job, units: PCollection) -> dict[str, PCollection]:
    """Return the batches of the units, by what tells those read in different ways apart."""
    if job.spec.source.kind == "bigquery":
        # Google's clients take a second to import.
        from penstock_dataprep.engine.sharing import read_shared

        return read_shared(job, units, label_prefix(job))
    return {
        "": units | f"{label_prefix(job)}Read" >> beam.ParDo(Step(steps.intake.read, job)).with_output_types(ReadBatch)
    }


def count(pipeline: beam.Pipeline, job: Job, intake: Intake, splitter: AsSingleton) -> Counted:
    """Count the tokens of the training rows, with those of an older version, and measure them."""
    step, prefix, judged = step_of(job), label_prefix(job), AsSingleton(intake.facts)
    counts, sizes, measures = intake.staged | f"{prefix}CountTokens" >> step(
        steps.tokens.count_tokens, splitter, judged
    ).with_outputs("sizes", "measures", main="counts")
    if known := job.known_shards():
        known_tokens = (
            pipeline
            | f"{prefix}Known" >> beam.Create(known)
            | f"{prefix}ReadKnown" >> step(steps.tokens.read_known, judged)
        )
        counts = (counts, known_tokens) | f"{prefix}WithKnown" >> beam.Flatten()
    # Grouped before the counts of log and tables come together: Beam would run the counting of both as one stage, and
    # that would wait for the log's split, which waits for what it stages.
    merged = (
        counts
        | f"{prefix}GroupPartitions" >> beam.GroupByKey()
        | f"{prefix}MergeCounts" >> step(steps.tokens.merge_counts)
    )
    merged_measures = measures | f"{prefix}MergeMeasures" >> beam.CombineGlobally(merge_measures)
    return Counted(merged, sizes, AsSingleton(merged_measures))


def write_table(
    pipeline: beam.Pipeline, job: Job, intake: Intake, counted: Counted, numbered: AsList, indexes: AsList
) -> PCollection:
    """Join a table with its vocabulary, write it, and return its entry in the manifest."""
    step, prefix = step_of(job), label_prefix(job)
    designs = (
        pipeline
        | f"{prefix}Design" >> beam.Create([None])
        | f"{prefix}LayOut" >> step(steps.entities.lay_out, AsSingleton(intake.facts), counted.measured, numbered)
    )
    design = AsSingleton(designs)
    segments, unmatched = intake.staged | f"{prefix}Map" >> step(
        steps.entities.map_batch, design, numbered, indexes
    ).with_outputs("unmatched", main="segments")
    written = (
        (segments, designs | f"{prefix}Shards" >> step(steps.entities.list_shards))
        | f"{prefix}AllShards" >> beam.Flatten()
        | f"{prefix}GroupShards" >> beam.GroupByKey()
        | f"{prefix}Write" >> step(steps.entities.write_shard, design, numbered, indexes)
    )
    return (
        pipeline
        | f"{prefix}Finish" >> beam.Create([None])
        | f"{prefix}Describe"
        >> step(
            steps.entities.describe, AsSingleton(intake.facts), design, AsList(unmatched), AsList(written), numbered
        )
    )
