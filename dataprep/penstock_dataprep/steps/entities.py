"""Wrap the joining of entity tables as steps of the pipeline: (table's job, element, side inputs) -> outputs."""

from collections.abc import Iterable, Iterator

from apache_beam.pvalue import TaggedOutput
from pydantic import TypeAdapter

from penstock_dataprep.job import Job
from penstock_dataprep.rows import entities
from penstock_dataprep.rows.entities import TableDesign, WrittenTableShard
from penstock_dataprep.rows.mapping import Segment
from penstock_dataprep.rows.staged import Staged
from penstock_dataprep.rows.transform import Measures
from penstock_dataprep.statistics.drift import drifts
from penstock_dataprep.statistics.facts import Facts
from penstock_dataprep.statistics.sketch import statistics
from penstock_dataprep.storage.files import is_whole
from penstock_dataprep.storage.memo import recall, remember
from penstock_dataprep.versions.listing import merge_shards, read_sketches, write_sketches
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_shared.errors import DataRefused
from penstock_shared.manifest import Accounting, Table

# What the notes of finished work hold.
DEALT: TypeAdapter[tuple[list[tuple[int, Segment]], int]] = TypeAdapter(tuple[list[tuple[int, Segment]], int])
WRITTEN: TypeAdapter[WrittenTableShard] = TypeAdapter(WrittenTableShard)


def lay_out(
    job: Job, _: None, facts: Facts, measures: Measures, numbered: list[tuple[str, Numbering]]
) -> Iterator[TableDesign]:
    """Yield a table's storage widths and shards."""
    yield entities.design_table(job, facts, measures, dict(numbered))


def list_shards(job: Job, design: TableDesign) -> Iterator[tuple[int, Segment | None]]:
    """Yield each shard to write, for there may be no entity for it."""
    for number in range(design.shards):
        yield number, None


def map_batch(
    job: Job, staged: Staged, design: TableDesign, numbered: list[tuple[str, Numbering]], indexes: list[int]
) -> Iterator[tuple[int, Segment | None] | TaggedOutput]:
    """Yield, by shard, where the staged batch's entities are; and how many have no id."""
    note = f"map/{staged.label}"
    dealt = recall(job.scratch, note, DEALT)
    if dealt is None:
        dealt = entities.map_entities(job, staged, design, dict(numbered))
        remember(job.scratch, note, DEALT, dealt)
    segments, unmatched = dealt
    yield from segments
    yield TaggedOutput("unmatched", unmatched)


def write_shard(
    job: Job,
    grouped: tuple[int, Iterable[Segment | None]],
    design: TableDesign,
    numbered: list[tuple[str, Numbering]],
    indexes: list[int],
) -> Iterator[WrittenTableShard]:
    """Yield what was written as one shard."""
    number, segments = grouped
    note = f"write/{job.label(number)}"
    written = recall(job.scratch, note, WRITTEN)
    if written is None or not is_whole(job.base, written.shard):
        found = sorted((held for held in segments if held is not None), key=lambda held: (held.file, held.position))
        written = entities.write_table_shard(job, number, found, design, dict(numbered))
        remember(job.scratch, note, WRITTEN, written)
    yield written


def describe(
    job: Job,
    _: None,
    facts: Facts,
    design: TableDesign,
    unmatched: list[int],
    written: list[WrittenTableShard],
    numbered: list[tuple[str, Numbering]],
) -> Iterator[tuple[str, Table]]:
    """Yield a table's entry in the manifest. Raises DataRefused when its rows do not balance."""
    shards = sorted(written, key=lambda shard: shard.position)
    found, duplicates = sum(shard.entities for shard in shards), sum(shard.duplicates for shard in shards)
    if found + duplicates + sum(unmatched) != facts.valid:
        raise DataRefused(
            f"tables.{job.table}: the rows do not balance: {facts.read} read, {facts.rejected.total()} rejected, "
            f"{sum(unmatched)} unmatched, {duplicates} duplicate, but {found} written; nothing was published"
        )
    sketches = [shard.sketches for shard in shards]
    merged = merge_shards(sketches)
    features = tuple(
        feature.model_copy(update={"statistics": statistics(feature, merged[feature.name])})
        for feature in design.features
    )
    name = str(job.table)
    older = job.parent.tables.get(name) if job.parent else None
    before = merge_shards(read_sketches(older, job.base)) if older is not None and older.statistics is not None else {}
    yield (
        name,
        Table(
            rows=design.rows,
            features=features,
            shards=tuple(shard.shard for shard in shards),
            missing=dict(numbered)[name].tokens - found,
            source=job.origin.entry(facts.read, job.source_columns),
            accounting=Accounting(
                read=facts.read,
                written=found,
                filtered={"unmatched": sum(unmatched), "duplicate": duplicates},
                rejected=dict(sorted(facts.rejected.items())),
            ),
            rejects=facts.reject_files,
            statistics=write_sketches(sketches, f"{job.version}/tables/{name}", job.base),
            drift=drifts(before, merged),
        ),
    )
