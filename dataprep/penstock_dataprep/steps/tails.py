"""Read the events that an older version kept, and write those that this version keeps."""

import itertools
from collections.abc import Iterator

import numpy as np
from pydantic import TypeAdapter

from penstock_dataprep.design import Design
from penstock_dataprep.histories.arrange import Arranged
from penstock_dataprep.histories.events import KEY
from penstock_dataprep.histories.partitions import partition_of
from penstock_dataprep.histories.tails import decode_tails, encode_tails, oov_buckets, renew
from penstock_dataprep.histories.windows import changes
from penstock_dataprep.job import Job
from penstock_dataprep.rows.mapping import Segment
from penstock_dataprep.statistics.facts import Facts
from penstock_dataprep.storage.files import is_whole, join, write_bytes
from penstock_dataprep.storage.memo import recall, remember
from penstock_dataprep.verify.files import read_verified
from penstock_dataprep.versions.tails import describe_tails
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_shared.tails import TailFile

# What the notes of finished work hold.
DEALT: TypeAdapter[list[tuple[int, Segment]]] = TypeAdapter(list[tuple[int, Segment]])
WRITTEN: TypeAdapter[TailFile] = TypeAdapter(TailFile)


def read_older(
    job: Job, position: int, facts: Facts, numbered: list[tuple[str, Numbering]], indexes: list[int]
) -> Iterator[tuple[int, Segment]]:
    """Yield, by partition of keys, where the events of one of the parent's files are, with the ids they have by now."""
    note = f"older/{position:05d}"
    dealt = recall(job.scratch, note, DEALT)
    if dealt is None:
        dealt = _read_older(job, position, facts, dict(numbered))
        remember(job.scratch, note, DEALT, dealt)
    yield from dealt


def _read_older(job: Job, position: int, facts: Facts, numberings: dict[str, Numbering]) -> list[tuple[int, Segment]]:
    parent, tails = job.parent, job.parent_tails
    assert parent is not None
    assert tails is not None
    file = tails.files[position]
    table = decode_tails(read_verified(job.base, file), join(job.base, file.path), tails, oov_buckets(parent))
    table = renew(table, {name: numberings[held] for name, held in job.token_vocabularies().items()}, job.scratch)
    partitions = partition_of(table.column(KEY).to_numpy(), job.key_partition_bits(facts.valid))
    # Keys ascend, and so do partitions.
    starts = np.flatnonzero(changes(partitions))
    edges = np.append(starts, len(partitions)).tolist()
    pieces = [table.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]
    name = f"older/{position:05d}"
    job.scratch.write_batches(name, pieces)
    segments = [Segment(name, place, piece.num_rows) for place, piece in enumerate(pieces)]
    return list(zip(partitions[starts].tolist(), segments, strict=True))


def write_tails(job: Job, arranged: Arranged, design: Design, facts: Facts) -> Iterator[TailFile]:
    """Yield what was written of the events that one partition keeps, where it keeps any."""
    if arranged.kept == 0:
        return
    note = f"tails/{arranged.partition:05d}"
    written = recall(job.scratch, note, WRITTEN)
    if written is None or not is_whole(job.base, written):
        written = _write_tails(job, arranged, design, facts)
        remember(job.scratch, note, WRITTEN, written)
    yield written


def _write_tails(job: Job, arranged: Arranged, design: Design, facts: Facts) -> TailFile:
    tails = describe_tails(job, design, facts)
    assert tails is not None
    table = job.scratch.read_batch(arranged.tails_file)
    path = f"{job.version}/tails/{arranged.partition:05d}-of-{1 << tails.partition_bits:05d}.tfrecord"
    size, crc32c = write_bytes(join(job.base, path), encode_tails(table, tails))
    keys = int(np.count_nonzero(changes(table.column(KEY).to_numpy())))
    return TailFile(
        path=path, bytes=size, crc32c=crc32c, partition=arranged.partition, keys=keys, events=table.num_rows
    )
