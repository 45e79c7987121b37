"""Count tokens, rank them, number them, and write vocabularies and their lookup tables."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from penstock_dataprep.job import Job
from penstock_dataprep.order.sorting import sort_words
from penstock_dataprep.order.split import SPLITS, TRAIN, Splitter
from penstock_dataprep.progress import BOARD
from penstock_dataprep.rows.staged import Staged, read_rows, read_tokens, tokens_file
from penstock_dataprep.rows.transform import measure_rows
from penstock_dataprep.statistics.facts import Facts
from penstock_dataprep.vocabularies import counting, known, lookup, numbering, vocabulary
from penstock_dataprep.vocabularies.counting import Counts
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_shared.errors import DataRefused
from penstock_shared.vocabularies import VocabularyShard


def count_tokens(
    job: Job, staged: Staged, splitter: Splitter, facts: Facts
) -> Iterator[tuple[tuple[str, int], Counts] | TaggedOutput]:
    """Yield, by (vocabulary, hash partition), where the staged batch's tokens and their counts are.

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
            file = f"counts/{staged.label}.{user}"
            counts = counting.count_codes(held.numbers, len(tokens), mask)
            dtype = np.min_scalar_type(counts.max(initial=0))
            job.scratch.write_array(file, counts.astype(dtype))
            edges = itertools.pairwise(counting.partition_edges(hashes, bits).tolist())
            for partition, (start, stop) in enumerate(edges):
                yield (name, partition), Counts(tokens_file(staged, user), file, dtype.str, start, stop)
    if job.table is None:
        BOARD.advance("count", staged.rows)
    yield TaggedOutput("measures", measure_rows(rows, job.targets, is_train))
    yield TaggedOutput("sizes", Counter({split: int((assigned == at).sum()) for at, split in enumerate(SPLITS)}))


def read_known(job: Job, task: tuple[str, int], facts: Facts) -> Iterator[tuple[tuple[str, int], Counts]]:
    """Yield, by (vocabulary, hash partition), where the tokens of one of the parent's vocabulary files are."""
    name, position = task
    held = job.parent_vocabulary(name)
    assert held is not None
    table = known.read_tokens(held, position, job.base)
    job.scratch.write_batches(f"known/{name}.{position:05d}", [table])
    hashes = table.column("hash").to_numpy()
    order, ordered = sort_words(hashes)
    file = f"known-by-hash/{name}.{position:05d}"
    job.scratch.write_batches(file, [table.take(pa.array(order))])
    edges = counting.partition_edges(ordered, _partition_bits(job, name, facts))
    for partition, (start, stop) in enumerate(itertools.pairwise(edges.tolist())):
        yield (name, partition), Counts(file, "", "", start, stop)


def _partition_bits(job: Job, name: str, facts: Facts) -> int:
    held = job.parent_vocabulary(name)
    tokens = facts.tokens[name] + (held.tokens if held else 0)
    return counting.partition_bits(tokens, counting.TOKENS_PER_PARTITION)


def merge_counts(job: Job, grouped: tuple[tuple[str, int], Iterable[Counts]]) -> Iterator[vocabulary.Merged]:
    """Yield a description of the admitted tokens of one hash partition; counts of the parent's tokens go to a file."""
    (name, partition), places = grouped
    rules, _ = job.vocabularies()[name]
    counts: list[pa.RecordBatch] = []
    parent: list[pa.RecordBatch] = []
    for place in places:
        (counts if place.counts else parent).append(place.read(job.scratch))
    counted, added = counting.merge_counts(counts), 0
    shared = counting.shared_hashes(counted.column("hash").to_numpy())
    if parent:
        counted, old, shared = known.part(counted, pa.concat_batches(parent))
        added = pc.sum(old.column("count")).as_py() or 0
    admitted, below = counting.admit(counted, rules)
    keys = vocabulary.sample_keys(admitted)
    merged = vocabulary.Merged(name, partition, admitted.num_rows, below, added, keys, shared)
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
    yield _write_range(job, name, position, updated, merged)


def cut_ranges(
    job: Job, merged: vocabulary.Merged, partitions: list[vocabulary.Merged]
) -> Iterator[tuple[tuple[str, int], tuple[str, str, int]]]:
    """Yield, by (vocabulary, range), where a partition's tokens are, and which of them are of that range."""
    splitters = vocabulary.choose_splitters([held for held in partitions if held.vocabulary == merged.vocabulary])
    ranges = vocabulary.cut_by_range(job.scratch.read_batch(merged.file), splitters)
    file = f"cut/{merged.vocabulary}.{merged.partition:05d}"
    if ranges:
        job.scratch.write_batches(file, [pa.RecordBatch.from_pydict({"row": rows}) for rows in ranges.values()])
    parent = job.parent_vocabulary(merged.vocabulary)
    first = len(parent.shards) if parent else 0
    for position, number in enumerate(ranges):
        yield (merged.vocabulary, first + number), (merged.file, file, position)


def sort_range(
    job: Job, grouped: tuple[tuple[str, int], Iterable[tuple[str, str, int]]], partitions: list[vocabulary.Merged]
) -> Iterator[vocabulary.Range]:
    """Yield a description of one sorted range."""
    (name, number), places = grouped
    read = job.scratch.read_batch
    cuts = [read(tokens).take(read(rows, position).column("row")) for tokens, rows, position in sorted(places)]
    table = vocabulary.sort_range(cuts)
    merged = [held for held in partitions if held.vocabulary == name]
    yield _write_range(job, name, number, table, merged)


def _write_range(
    job: Job, name: str, number: int, table: pa.RecordBatch, merged: list[vocabulary.Merged]
) -> vocabulary.Range:
    held = vocabulary.Range.of(name, number, table, vocabulary.all_shared(merged))
    bits = numbering.index_bits(merged, job.parent_vocabulary(name))
    job.scratch.write_batches(held.file, [table.select(["token", "count"])])
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
    held = numbering.number(name, rules, token_dtype, users, own_partitions, own_ranges, parent, job.scratch)
    if held.shared and any(key in users for key in job.spec.keys):
        raise DataRefused(
            f"columns.{name}: several tokens have the 64-bit hash {held.shared[0]}, and events are told apart by it"
            + "".join(f"; rename {token!r}" for _, token, _ in held.sharing[:1])
        )
    yield name, held


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
    lookup.write_index(held, partition, job.scratch)
    yield partition
