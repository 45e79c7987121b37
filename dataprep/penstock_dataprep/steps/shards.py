"""Lay out the dataset, map rows to shards, write them and publish."""

from collections import Counter
from collections.abc import Iterable, Iterator

import pyarrow as pa
from pydantic import TypeAdapter

from penstock_dataprep.design import Design, make_design, make_features
from penstock_dataprep.job import Job
from penstock_dataprep.order.split import Splitter
from penstock_dataprep.progress import BOARD
from penstock_dataprep.records import shard
from penstock_dataprep.rows.mapping import Segment
from penstock_dataprep.rows.slices import Slice, deal_staged, read_slice, write_ids, write_slices
from penstock_dataprep.rows.staged import Staged
from penstock_dataprep.rows.transform import Measures
from penstock_dataprep.spec.lists import list_columns
from penstock_dataprep.statistics.facts import Facts
from penstock_dataprep.storage.files import is_local, is_whole
from penstock_dataprep.storage.memo import recall, remember
from penstock_dataprep.versions.publish import publish_manifest
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_shared.layout import RecordLayout
from penstock_shared.manifest import Table
from penstock_shared.tails import TailFile
from penstock_shared.vocabularies import VocabularyShard

Part = Slice | Segment

# What the notes of finished work hold.
MAPPED: TypeAdapter[list[tuple[int, Part]]] = TypeAdapter(list[tuple[int, Part]])
WRITTEN: TypeAdapter[shard.WrittenShard] = TypeAdapter(shard.WrittenShard)


def lay_out(
    job: Job,
    _: None,
    facts: Facts,
    sizes: list[Counter[str]],
    measures: Measures,
    numbered: list[tuple[str, Numbering]],
) -> Iterator[Design]:
    """Yield the storage widths and shard counts."""
    rows_per_split: Counter[str] = sum(sizes, Counter())
    BOARD.start("map", facts.valid)
    BOARD.start("write", rows_per_split.total())
    measures |= {name: measures[column] for name, column in list_columns(job.spec).items() if column in measures}
    held = job.parent.features if job.parent else ()
    yield make_design(job.spec, job.outputs, facts, rows_per_split, dict(numbered), measures, held)


def map_batch(
    job: Job,
    staged: Staged,
    splitter: Splitter,
    design: Design,
    numbered: list[tuple[str, Numbering]],
    indexes: list[int],
) -> Iterator[tuple[int, Part]]:
    """Yield, by shard, where the staged batch's rows are, and the ids of their tokens."""
    note = f"map/{staged.label}"
    parts = recall(job.scratch, note, MAPPED)
    if parts is None:
        write_ids(staged, job.targets, dict(numbered), job.scratch)
        slices = deal_staged(staged, job.targets, splitter, design, job.scratch)
        parts = list(slices if is_local(job.scratch.folder) else write_slices(slices, job.targets, design, job.scratch))
        remember(job.scratch, note, MAPPED, parts)
    yield from parts
    BOARD.advance("map", staged.rows)


def write_shard(
    job: Job, grouped: tuple[int, Iterable[Part]], design: Design, facts: Facts
) -> Iterator[shard.WrittenShard]:
    """Yield what was written as one shard."""
    number, parts = grouped
    split, position = design.locate(number)
    shards = design.shards[split]
    path = f"{job.version}/{split}/{position:05d}-of-{shards:05d}.tfrecord"
    written = recall(job.scratch, f"write/{number:06d}", WRITTEN)
    if written is None or not is_whole(job.base, written.shard):
        counting = None if job.spec.sequences is None else job.spec.sequences.columns[0]
        task = shard.ShardTask(split, position, shards, design.cells, job.base, path, counting)
        written = _write_shard(job, task, parts, design, facts)
        remember(job.scratch, f"write/{number:06d}", WRITTEN, written)
    BOARD.advance("write", written.shard.rows)
    yield written


def _write_shard(
    job: Job, task: shard.ShardTask, parts: Iterable[Part], design: Design, facts: Facts
) -> shard.WrittenShard:
    features = make_features(job.outputs, design, facts)
    output = job.spec.output
    return shard.write_shard(
        task,
        [_read(job, part, design) for part in parts],
        features,
        RecordLayout(kind=output.layout, rows_per_block=output.rows_per_block),
        job.spec.duplicates == "drop",
        {name: rules.oov_buckets for name, (rules, _) in job.vocabularies().items()},
    )


def _read(job: Job, part: Part, design: Design) -> pa.RecordBatch:
    if isinstance(part, Slice):
        return read_slice(part, job.targets, design, job.scratch)
    return job.scratch.read_batch(part.file, part.position)


def publish(
    job: Job,
    _: None,
    facts: Facts,
    splitter: Splitter,
    design: Design,
    numbered: list[tuple[str, Numbering]],
    vocabulary_shards: list[tuple[str, int, VocabularyShard]],
    shards: list[shard.WrittenShard],
    tail_files: list[TailFile],
    tables: list[tuple[str, Table]],
) -> Iterator[str]:
    """Yield the path of the published manifest."""
    yield publish_manifest(
        job, facts, splitter, design, dict(numbered), vocabulary_shards, shards, tail_files, dict(tables)
    )
