"""Lay out the whole job as labelled Beam steps.

Rows move inside a fused stage as Arrow record batches; between stages only references to batches in the scratch
folder do, so that no runner holds, copies or serialises rows.
"""

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton, PCollection

from penstock_dataprep import steps
from penstock_dataprep.dealing import deal_lists, deal_rows
from penstock_dataprep.dofn import Step, ThreadedStep
from penstock_dataprep.elements import ReadBatch, ValidBatch
from penstock_dataprep.job import Job
from penstock_dataprep.spec import LeaveLastSplit
from penstock_dataprep.transform import merge_measures


def build(pipeline: beam.Pipeline, job: Job) -> None:
    """Add every step from source to published manifest to `pipeline`."""

    def step(function: Any, *side_inputs: Any) -> beam.ParDo:
        return beam.ParDo(ThreadedStep(function, job), *side_inputs)

    recalled, unfinished, recalled_facts = (
        pipeline
        | "Units" >> beam.Create(list(enumerate(job.units)))
        | "Recall" >> step(steps.recall_unit).with_outputs("unfinished", "facts", main="staged")
    )
    new, new_facts = (
        unfinished
        | "Read" >> beam.ParDo(Step(steps.read, job)).with_output_types(ReadBatch)
        | "Validate" >> step(steps.validate).with_output_types(ValidBatch)
        | "Stage" >> step(steps.stage).with_outputs("facts", main="staged")
    )
    staged = (recalled, new) | "Staged" >> beam.Flatten()
    facts = (recalled_facts, new_facts) | "Facts" >> beam.Flatten()
    merged = facts | "MergeFacts" >> beam.CombineGlobally(steps.merge_facts)
    judged = AsSingleton(merged | "Judge" >> step(steps.judge))

    after_cutoffs = AsList(_cutoffs(pipeline, job, staged, step))
    splitter = AsSingleton(pipeline | "Split" >> beam.Create([None]) | "Cut" >> step(steps.cut, judged, after_cutoffs))

    counts, sizes, measures = staged | "CountTokens" >> step(steps.count_tokens, splitter, judged).with_outputs(
        "sizes", "measures", main="counts"
    )
    measured = AsSingleton(measures | "MergeMeasures" >> beam.CombineGlobally(merge_measures))
    known = job.known_shards()
    if known:
        known_tokens = pipeline | "Known" >> beam.Create(known) | "ReadKnown" >> step(steps.read_known, judged)
        counts = (counts, known_tokens) | "Counts" >> beam.Flatten()
    merged_counts = counts | "GroupPartitions" >> beam.GroupByKey() | "MergeCounts" >> step(steps.merge_counts, judged)
    partitions = AsList(merged_counts)
    ranges = (
        merged_counts
        | "CutRanges" >> step(steps.cut_ranges, partitions)
        | "GroupRanges" >> beam.GroupByKey()
        | "SortRanges" >> step(steps.sort_range, partitions)
    )
    if known:
        # A source of its own, since one stage with both would wait for its own output.
        known_ranges = (
            pipeline | "KnownAgain" >> beam.Create(known) | "CountKnown" >> step(steps.count_known, partitions)
        )
        ranges = (ranges, known_ranges) | "Ranges" >> beam.Flatten()
    numberings = (
        pipeline
        | "Vocabularies" >> beam.Create(list(job.spec.vocabularies()))
        | "Number" >> step(steps.number_tokens, partitions, AsList(ranges))
    )
    numbered = AsList(numberings)
    vocabulary_shards = (
        numberings
        | "VocabularyShards" >> step(steps.list_vocabulary_shards)
        | "SpreadVocabularyShards" >> beam.Reshuffle()
        | "WriteVocabularies" >> step(steps.write_vocabulary)
    )
    indexes = AsList(
        numberings
        | "Indexes" >> step(steps.list_indexes)
        | "SpreadIndexes" >> beam.Reshuffle()
        | "WriteIndexes" >> step(steps.write_index)
    )

    deal = deal_rows if job.spec.list_rules is None else deal_lists
    facts, design, segments = deal(pipeline, step, staged, splitter, judged, sizes, measured, numbered, indexes)
    shards = segments | "GroupShards" >> beam.GroupByKey() | "WriteShards" >> step(steps.write_shard, design, facts)
    _ = (
        pipeline
        | "Finish" >> beam.Create([None])
        | "Publish" >> step(steps.publish, facts, splitter, design, numbered, AsList(vocabulary_shards), AsList(shards))
    )


def _cutoffs(pipeline: beam.Pipeline, job: Job, staged: PCollection, step: Any) -> PCollection:
    """Find each user's last rows, where the split asks for them."""
    if not isinstance(job.spec.split, LeaveLastSplit):
        return pipeline | "NoCutoffs" >> beam.Create([], reshuffle=False)
    parts = (
        staged
        | "Events" >> step(steps.deal_events)
        | "GroupUsers" >> beam.GroupByKey()
        | "LastEvents" >> step(steps.last_events)
    )
    return pipeline | "Cutoffs" >> beam.Create([None]) | "SaveCutoffs" >> step(steps.save_cutoffs, AsList(parts))
