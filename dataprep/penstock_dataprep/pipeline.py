"""Lay out the whole job as labelled Beam steps.

Rows move inside a fused stage as Arrow record batches; between stages only references to batches in the scratch
folder do, so that no runner holds, copies or serialises rows.
"""

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton, PCollection

from penstock_dataprep import steps
from penstock_dataprep.dealing import deal_lists, deal_rows
from penstock_dataprep.job import Job
from penstock_dataprep.order.split import make_splitter
from penstock_dataprep.phases import count, step_of, take_in, write_table
from penstock_dataprep.spec.spec import LeaveLastSplit


def build(pipeline: beam.Pipeline, job: Job) -> None:
    """Add every step from source to published manifest to `pipeline`."""

    step = step_of(job)
    log = take_in(pipeline, job)
    tables = [take_in(pipeline, table) for table in job.tables]

    after_cutoffs = AsList(_cutoffs(pipeline, job, log.staged))
    cut = (
        pipeline
        | "Split" >> beam.Create([None])
        | "Cut" >> step(steps.splitting.cut, AsSingleton(log.facts), after_cutoffs)
    )
    splitter = AsSingleton(cut)
    judged = AsSingleton(log.facts)
    counted = count(pipeline, job, log, splitter)
    counted_tables = [
        count(pipeline, table, intake, _no_split(pipeline, table))
        for table, intake in zip(job.tables, tables, strict=True)
    ]
    merged_counts = tuple(held.merged for held in (counted, *counted_tables)) | "Counts" >> beam.Flatten()
    partitions = AsList(merged_counts)
    ranges = (
        merged_counts
        | "CutRanges" >> step(steps.tokens.cut_ranges, partitions)
        | "GroupRanges" >> beam.GroupByKey()
        | "SortRanges" >> step(steps.tokens.sort_range, partitions)
    )
    if known := [shard for held in (job, *job.tables) for shard in held.known_shards()]:
        # A source of its own, since one stage with both would wait for its own output.
        known_ranges = (
            pipeline | "KnownAgain" >> beam.Create(known) | "CountKnown" >> step(steps.tokens.count_known, partitions)
        )
        ranges = (ranges, known_ranges) | "Ranges" >> beam.Flatten()
    numberings = (
        pipeline
        | "Vocabularies" >> beam.Create(list(job.vocabularies()))
        | "Number" >> step(steps.tokens.number_tokens, partitions, AsList(ranges))
    )
    numbered = AsList(numberings)
    vocabulary_shards = (
        numberings
        | "VocabularyShards" >> step(steps.tokens.list_vocabulary_shards)
        | "SpreadVocabularyShards" >> beam.Reshuffle()
        | "WriteVocabularies" >> step(steps.tokens.write_vocabulary)
    )
    indexes = AsList(
        numberings
        | "Indexes" >> step(steps.tokens.list_indexes)
        | "SpreadIndexes" >> beam.Reshuffle()
        | "WriteIndexes" >> step(steps.tokens.write_index)
    )

    deal = deal_rows if job.spec.list_rules is None else deal_lists
    facts, design, segments, tails = deal(
        pipeline, job, log.staged, splitter, judged, counted.sizes, counted.measured, numbered, indexes
    )
    shards = (
        segments | "GroupShards" >> beam.GroupByKey() | "WriteShards" >> step(steps.shards.write_shard, design, facts)
    )
    entries = [
        write_table(pipeline, table, intake, measured, numbered, indexes)
        for table, intake, measured in zip(job.tables, tables, counted_tables, strict=True)
    ]
    described = AsList(entries | "Tables" >> beam.Flatten(pipeline=pipeline))
    _ = (
        pipeline
        | "Finish" >> beam.Create([None])
        | "Publish"
        >> step(
            steps.shards.publish,
            facts,
            splitter,
            design,
            numbered,
            AsList(vocabulary_shards),
            AsList(shards),
            AsList(tails),
            described,
        )
    )


def _no_split(pipeline: beam.Pipeline, table: Job) -> AsSingleton:
    """Return what sends all rows of an entity table to train."""
    return AsSingleton(pipeline | f"{table.table}/Split" >> beam.Create([make_splitter(table.spec, None)]))


def _cutoffs(pipeline: beam.Pipeline, job: Job, staged: PCollection) -> PCollection:
    """Find each user's last rows, where the split asks for them."""
    step = step_of(job)
    if not isinstance(job.spec.split, LeaveLastSplit):
        return pipeline | "NoCutoffs" >> beam.Create([], reshuffle=False)
    parts = (
        staged
        | "Events" >> step(steps.splitting.deal_events)
        | "GroupUsers" >> beam.GroupByKey()
        | "LastEvents" >> step(steps.splitting.last_events)
    )
    return (
        pipeline | "Cutoffs" >> beam.Create([None]) | "SaveCutoffs" >> step(steps.splitting.save_cutoffs, AsList(parts))
    )
