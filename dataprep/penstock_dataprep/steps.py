"""Wrap the pure functions of the other modules as steps of the pipeline: (job, element, side inputs) -> outputs."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput
from pydantic import TypeAdapter

from penstock_dataprep import known, leave_last, mapping, numbering, shard, vocabulary
from penstock_dataprep.design import Design, make_design, make_features
from penstock_dataprep.elements import ReadBatch, ValidBatch
from penstock_dataprep.facts import Facts
from penstock_dataprep.job import Job
from penstock_dataprep.judge import check_facts
from penstock_dataprep.list_spec import list_columns
from penstock_dataprep.memo import recall, remember
from penstock_dataprep.numbering import Numbering
from penstock_dataprep.progress import BOARD
from penstock_dataprep.publish import publish_manifest
from penstock_dataprep.rejects import write_rejects
from penstock_dataprep.sources import FORMATS, ROW_COLUMN, Unit
from penstock_dataprep.spec import LeaveLastSplit
from penstock_dataprep.split import SPLITS, TRAIN, Splitter, make_splitter
from penstock_dataprep.staged import Staged, read_rows, read_tokens
from penstock_dataprep.staged import stage as stage_batch
from penstock_dataprep.storage import is_whole
from penstock_dataprep.transform import Measures, measure_rows, transform_valid
from penstock_dataprep.validate import validate as validate_batch
from penstock_shared.layout import RecordLayout
from penstock_shared.manifest import Table, VocabularyShard

KNOWN_PIECES = "known-by-hash/"

# What the notes of finished work hold.
PIECES: TypeAdapter[int] = TypeAdapter(int)
STAGED: TypeAdapter[tuple[Staged | None, Facts]] = TypeAdapter(tuple[Staged | None, Facts])
MAPPED: TypeAdapter[list[tuple[int, mapping.Segment]]] = TypeAdapter(list[tuple[int, mapping.Segment]])
WRITTEN: TypeAdapter[shard.WrittenShard] = TypeAdapter(shard.WrittenShard)


def recall_unit(job: Job, numbered_unit: tuple[int, Unit]) -> Iterator[Staged | TaggedOutput]:
    """Yield what an earlier attempt staged of a unit, or the unit itself as unfinished."""
    number, _ = numbered_unit
    label = job.label(number)
    pieces = recall(job.scratch, f"read/{label}", PIECES)
    notes = [recall(job.scratch, f"stage/{_label(label, piece)}", STAGED) for piece in range(pieces or 0)]
    if pieces is None or None in notes:
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
    source = job.spec.source
    wanted = {target.source for target in job.targets}
    pieces = 0
    for batch in FORMATS[source.format].read(unit, source, sorted(wanted - {ROW_COLUMN})):
        yield ReadBatch(_label(job.label(number), pieces), batch.with_row_column() if ROW_COLUMN in wanted else batch)
        pieces += 1
    remember(job.scratch, f"read/{job.label(number)}", PIECES, pieces)


def validate(job: Job, read_batch: ReadBatch) -> Iterator[ValidBatch]:
    """Yield the valid rows and what was measured; rejected rows go to their file."""
    label = read_batch.label
    valid, rejects = validate_batch(read_batch.source, job.targets)
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


def _label(unit: str, piece: int) -> str:
    return f"{unit}-{piece:04d}"


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


def deal_events(job: Job, staged: Staged) -> Iterator[tuple[int, str]]:
    """Yield, by partition of users, where the staged batch's events are."""
    rows = read_rows(staged, job.targets, job.scratch)
    found = leave_last.events(staged, rows, job.spec.role("user") or "", job.spec.role("time") or "", job.scratch)
    # 2^4 partitions: each must be sorted in memory, and 10^9 events of 24 bytes make 1.5 GB a partition.
    partition = found["user"] >> np.uint64(60)
    for number in np.unique(partition):
        name = f"events/{staged.label}.{int(number):02d}"
        job.scratch.write_array(name, found[partition == number].view(np.uint8))
        yield int(number), name


def last_events(job: Job, grouped: tuple[int, Iterable[str]]) -> Iterator[str]:
    """Yield where the cutoffs of one partition of users are."""
    number, names = grouped
    assert isinstance(job.spec.split, LeaveLastSplit)
    found = [job.scratch.map_array(name, "u1").view(leave_last.EVENT) for name in names]
    name = f"cutoffs/part-{number:02d}"
    cut_off = leave_last.cutoffs(np.concatenate(found), job.spec.split, job.spec.duplicates == "drop")
    job.scratch.write_array(name, cut_off.view(np.uint8))
    yield name


def save_cutoffs(job: Job, _: None, names: list[str]) -> Iterator[int]:
    """Write the cutoffs of all users for the splitter."""
    parts = [job.scratch.map_array(name, "u1").view(leave_last.CUTOFF) for name in sorted(names)]
    leave_last.save_cutoffs(parts, job.scratch)
    yield len(parts)


def cut(job: Job, _: None, facts: Facts, after_cutoffs: list[int]) -> Iterator[Splitter]:
    """Yield the splitter."""
    yield make_splitter(job.spec, facts.times)


def count_tokens(
    job: Job, staged: Staged, splitter: Splitter, facts: Facts
) -> Iterator[tuple[tuple[str, int], tuple[str, int]] | TaggedOutput]:
    """Yield, by (vocabulary, hash partition), where the staged batch's token counts are.

    Beside them go its rows by split, and the measures of its training rows that transforms need.
    """
    rows = read_rows(staged, job.targets, job.scratch)
    assigned = splitter.assign(staged, rows, job.scratch)
    is_train = assigned == TRAIN
    for name, (rules, users) in job.spec.vocabularies().items():
        if rules.encoding == "hash":
            continue
        bits = _partition_bits(job, name, facts)
        for user in users:
            tokens, hashes = read_tokens(staged, user, job.scratch)
            held = rows.columns[user]
            mask = (
                None if rules.of == "all" else is_train if held.lengths is None else np.repeat(is_train, held.lengths)
            )
            counts = vocabulary.count_codes(held.numbers, len(tokens), mask)
            pieces = vocabulary.cut_by_hash(vocabulary.count_table(tokens, hashes, counts), bits)
            file = f"counts/{staged.label}.{user}"
            job.scratch.write_batches(file, pieces)
            for partition in range(len(pieces)):
                yield (name, partition), (file, partition)
    if job.table is None:
        BOARD.advance("count", staged.rows)
    yield TaggedOutput("measures", measure_rows(rows, job.targets, is_train))
    yield TaggedOutput("sizes", Counter({split: int((assigned == at).sum()) for at, split in enumerate(SPLITS)}))


def read_known(job: Job, task: tuple[str, int], facts: Facts) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """Yield, by (vocabulary, hash partition), where the tokens of one of the parent's vocabulary files are."""
    name, position = task
    held = job.parent_vocabulary(name)
    assert held is not None
    table = known.read_tokens(held, position, job.base)
    pieces = vocabulary.cut_by_hash(table, _partition_bits(job, name, facts))
    job.scratch.write_batches(f"known/{name}.{position:05d}", [table])
    file = f"{KNOWN_PIECES}{name}.{position:05d}"
    job.scratch.write_batches(file, pieces)
    for partition in range(len(pieces)):
        yield (name, partition), (file, partition)


def _partition_bits(job: Job, name: str, facts: Facts) -> int:
    held = job.parent_vocabulary(name)
    return vocabulary.partition_bits(facts.tokens[name] + (held.tokens if held else 0))


def merge_counts(
    job: Job, grouped: tuple[tuple[str, int], Iterable[tuple[str, int]]], facts: Facts
) -> Iterator[vocabulary.Merged]:
    """Yield a description of the admitted tokens of one hash partition; counts of the parent's tokens go to a file."""
    (name, partition), places = grouped
    rules, _ = job.vocabularies()[name]
    counts: list[pa.RecordBatch] = []
    parent: list[pa.RecordBatch] = []
    for file, position in places:
        (parent if file.startswith(KNOWN_PIECES) else counts).append(job.scratch.read_batch(file, position))
    counted, added = vocabulary.merge_counts(counts, f"columns.{name}"), 0
    if parent:
        bits = _partition_bits(job, name, facts)
        counted, old = known.part(counted, pa.concat_batches(parent), bits, f"columns.{name}")
        added = pc.sum(old.column("count")).as_py() or 0
    admitted, below = vocabulary.admit(counted, rules)
    keys = vocabulary.sample_keys(admitted)
    merged = vocabulary.Merged(name, partition, admitted.num_rows, below, added, keys)
    job.scratch.write_batches(merged.file, [admitted])
    if parent:
        job.scratch.write_batches(merged.added_file, [old])
    yield merged


def count_known(job: Job, task: tuple[str, int], partitions: list[vocabulary.Merged]) -> Iterator[vocabulary.Range]:
    """Yield a description of the range of one of the parent's vocabulary files, its counts brought up to date."""
    name, position = task
    merged = [held for held in partitions if held.vocabulary == name]
    table = job.scratch.read_batch(f"known/{name}.{position:05d}")
    updated = known.add_counts(table, [job.scratch.read_batch(held.added_file) for held in merged])
    yield _write_range(job, vocabulary.Range.of(name, position, updated), updated, merged)


def cut_ranges(
    job: Job, merged: vocabulary.Merged, partitions: list[vocabulary.Merged]
) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """Yield, by (vocabulary, range), where a partition's tokens of that range are."""
    splitters = vocabulary.choose_splitters([held for held in partitions if held.vocabulary == merged.vocabulary])
    ranges = vocabulary.cut_by_range(job.scratch.read_batch(merged.file), splitters)
    file = f"cut/{merged.vocabulary}.{merged.partition:05d}"
    if ranges:
        job.scratch.write_batches(file, list(ranges.values()))
    parent = job.parent_vocabulary(merged.vocabulary)
    first = len(parent.shards) if parent else 0
    for position, number in enumerate(ranges):
        yield (merged.vocabulary, first + number), (file, position)


def sort_range(
    job: Job, grouped: tuple[tuple[str, int], Iterable[tuple[str, int]]], partitions: list[vocabulary.Merged]
) -> Iterator[vocabulary.Range]:
    """Yield a description of one sorted range."""
    (name, number), places = grouped
    table = vocabulary.sort_range([job.scratch.read_batch(*place) for place in sorted(places)])
    merged = [held for held in partitions if held.vocabulary == name]
    yield _write_range(job, vocabulary.Range.of(name, number, table), table, merged)


def _write_range(
    job: Job, held: vocabulary.Range, table: pa.RecordBatch, merged: list[vocabulary.Merged]
) -> vocabulary.Range:
    bits = numbering.index_bits(merged, job.parent_vocabulary(held.vocabulary))
    job.scratch.write_batches(held.file, [table])
    job.scratch.write_batches(held.ranks_file, vocabulary.cut_by_hash(vocabulary.rank_table(table), bits))
    return held


def number_tokens(
    job: Job, name: str, partitions: list[vocabulary.Merged], ranges: list[vocabulary.Range]
) -> Iterator[tuple[str, Numbering]]:
    """Yield a vocabulary's numbering."""
    rules, users = job.vocabularies()[name]
    token_dtype = next(target.dtype for target in job.every_target() if target.name == name)
    own_partitions = [held for held in partitions if held.vocabulary == name]
    own_ranges = [held for held in ranges if held.vocabulary == name]
    parent = job.parent_vocabulary(name)
    yield name, numbering.number(name, rules, token_dtype, users, own_partitions, own_ranges, parent, job.scratch)


def list_vocabulary_shards(job: Job, numbered: tuple[str, Numbering]) -> Iterator[tuple[int, Numbering]]:
    """Yield each file to write for a vocabulary."""
    for position in range(len(numbered[1].shards())):
        yield position, numbered[1]


def write_vocabulary(job: Job, task: tuple[int, Numbering]) -> Iterator[tuple[str, int, VocabularyShard]]:
    """Yield the manifest's entry of one vocabulary file."""
    position, held = task
    yield held.vocabulary, position, numbering.write_shard(held, position, job.base, job.version, job.scratch)


def list_indexes(job: Job, numbered: tuple[str, Numbering]) -> Iterator[tuple[int, Numbering]]:
    """Yield each lookup table to write for a vocabulary."""
    for partition in range(1 << numbered[1].index_bits):
        yield partition, numbered[1]


def write_index(job: Job, task: tuple[int, Numbering]) -> Iterator[int]:
    """Yield the number of a lookup table once it is written."""
    partition, held = task
    numbering.write_index(held, partition, job.scratch)
    yield partition


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
) -> Iterator[tuple[int, mapping.Segment]]:
    """Yield, by shard, where the staged batch's rows with ids are."""
    note = f"map/{staged.label}"
    segments = recall(job.scratch, note, MAPPED)
    if segments is None:
        segments = mapping.map_batch(staged, job.targets, splitter, design, dict(numbered), job.scratch)
        remember(job.scratch, note, MAPPED, segments)
    yield from segments
    BOARD.advance("map", staged.rows)


def write_shard(
    job: Job, grouped: tuple[int, Iterable[mapping.Segment]], design: Design, facts: Facts
) -> Iterator[shard.WrittenShard]:
    """Yield what was written as one shard."""
    number, segments = grouped
    split, position = design.locate(number)
    shards = design.shards[split]
    path = f"{job.version}/{split}/{position:05d}-of-{shards:05d}.tfrecord"
    written = recall(job.scratch, f"write/{number:06d}", WRITTEN)
    if written is None or not is_whole(job.base, written.shard):
        counting = None if job.spec.sequences is None else job.spec.sequences.columns[0]
        task = shard.ShardTask(split, position, shards, job.base, path, counting)
        written = _write_shard(job, task, segments, design, facts)
        remember(job.scratch, f"write/{number:06d}", WRITTEN, written)
    BOARD.advance("write", written.shard.rows)
    yield written


def _write_shard(
    job: Job, task: shard.ShardTask, segments: Iterable[mapping.Segment], design: Design, facts: Facts
) -> shard.WrittenShard:
    features = make_features(job.outputs, design, facts)
    output = job.spec.output
    return shard.write_shard(
        task,
        list(segments),
        features,
        RecordLayout(kind=output.layout, rows_per_block=output.rows_per_block),
        job.spec.duplicates == "drop",
        {name: rules.oov_buckets for name, (rules, _) in job.vocabularies().items()},
        job.scratch,
    )


def publish(
    job: Job,
    _: None,
    facts: Facts,
    splitter: Splitter,
    design: Design,
    numbered: list[tuple[str, Numbering]],
    vocabulary_shards: list[tuple[str, int, VocabularyShard]],
    shards: list[shard.WrittenShard],
    tables: list[tuple[str, Table]],
) -> Iterator[str]:
    """Yield the path of the published manifest."""
    yield publish_manifest(job, facts, splitter, design, dict(numbered), vocabulary_shards, shards, dict(tables))
