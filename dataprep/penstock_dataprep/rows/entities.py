"""Join a table of entities with its vocabulary: row i of what is written is about the entity with id i."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.design import make_column, make_feature
from penstock_dataprep.job import Job
from penstock_dataprep.records.blocks import Values, encode_block
from penstock_dataprep.records.tfrecord import frame
from penstock_dataprep.rows.mapping import Segment, code_ids, map_columns
from penstock_dataprep.rows.staged import PLACE, Staged, read_rows, read_tokens, stage
from penstock_dataprep.rows.transform import Measures, settle, transform_valid
from penstock_dataprep.spec.columns import NullDefault
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.statistics.facts import Facts, FeatureFacts
from penstock_dataprep.statistics.sketch import sketch_feature
from penstock_dataprep.storage.files import join, write_bytes
from penstock_dataprep.vocabularies.lookup import find_ids
from penstock_dataprep.vocabularies.numbering import Numbering, token_of
from penstock_dataprep.vocabularies.token_index import ABSENT
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.layout import WIDTH_BYTES, Column, scalar_row_bytes
from penstock_shared.sketches import FeatureSketch
from penstock_shared.splits import Shard
from penstock_shared.transforms import Transform

ID, MOMENT = "\x00id", "\x00moment"
ROWS_PER_SHARD = 1 << 22  # at most: a shard is put together in memory


@dataclass(frozen=True)
class TableDesign:
    """Hold how a table is laid out: `columns` run parallel to the job's targets but the first, the key.

    `default` is the row that entities without one have, staged like those that were read.
    """

    columns: tuple[Column, ...]
    features: tuple[Feature, ...]
    transforms: dict[str, Transform]
    rows: int
    rows_per_shard: int
    default: Staged

    @property
    def shards(self) -> int:
        """Return the number of shards."""
        return -(-self.rows // self.rows_per_shard)


@dataclass(frozen=True)
class WrittenTableShard:
    """Hold a shard's manifest entry and sketches, the entities found for it, and their other rows that were dropped."""

    position: int
    shard: Shard
    sketches: dict[str, FeatureSketch]
    entities: int
    duplicates: int


def design_table(job: Job, facts: Facts, measures: Measures, numberings: dict[str, Numbering]) -> TableDesign:
    """Choose storage widths and shards of the table of a job, and stage its default row."""
    targets, name = job.targets[1:], str(job.table)
    transforms = _transforms(job, targets, measures)
    row = transform_valid(default_row(job.targets), job.targets)
    default = stage(row, job.targets, job.spec.shuffle.seed, f"{name}.default", job.scratch)
    measured = {
        target.name: facts.features[target.name].merge(FeatureFacts.of(row.column(target.name), target))
        for target in targets
    }
    with_default = Facts(features=measured)
    columns = tuple(make_column(target, with_default, numberings, transforms.get(target.name)) for target in targets)
    features = tuple(
        make_feature(target, column, transforms.get(target.name), measured[target.name].extent())
        for target, column in zip(targets, columns, strict=True)
    )
    row_bytes = scalar_row_bytes(columns) + sum(
        WIDTH_BYTES[column.storage] * measured[column.name].values / max(1, measured[column.name].rows)
        for column in columns
        if column.lengths
    )
    rows_per_block = job.spec.output.rows_per_block
    wanted_rows = min(ROWS_PER_SHARD, int(job.spec.output.shard_bytes / max(1.0, row_bytes)))
    return TableDesign(
        columns=columns,
        features=tuple(_short(feature, name) for feature in features),
        transforms=transforms,
        rows=numberings[name].size,
        rows_per_shard=max(1, wanted_rows // rows_per_block) * rows_per_block,
        default=default,
    )


def _transforms(job: Job, targets: tuple[Target, ...], measures: Measures) -> dict[str, Transform]:
    """Return the settled transforms; those of a version that is appended to stay, so that values keep their meaning."""
    held = job.parent.tables.get(str(job.table)) if job.parent else None
    if held is None:
        try:
            return settle(targets, measures)
        except DataRefused as fault:
            raise DataRefused(str(fault).replace(f"columns.{job.table}.", f"tables.{job.table}.columns.")) from None
    return {f"{job.table}.{feature.name}": feature.transform for feature in held.features if feature.transform}


def default_row(targets: tuple[Target, ...]) -> pa.RecordBatch:
    """Return one valid row of defaults: what the spec puts in the place of null, or null, an empty list, zeros."""
    return pa.RecordBatch.from_arrays([_default(target) for target in targets], names=[held.name for held in targets])


def map_entities(
    job: Job, staged: Staged, design: TableDesign, numberings: dict[str, Numbering]
) -> tuple[list[tuple[int, Segment]], int]:
    """Write a staged batch's entities by shard; return (shard number, segment) pairs and how many have no id."""
    rows = read_rows(staged, job.targets, job.scratch)
    key = job.targets[0]
    tokens, hashes = read_tokens(staged, key.name, job.scratch)
    ids = find_ids(numberings[key.name], tokens, hashes, job.scratch)[rows.columns[key.name].numbers]
    time = next((target.name for target in job.targets if target.role == "time"), None)
    moments = np.zeros(staged.rows, np.int64) if time is None else rows.columns[time].numbers
    codes = code_ids(staged, job.targets[1:], numberings, job.scratch)
    columns = map_columns(rows, job.targets[1:], design.columns, design.transforms, codes)
    table = pa.RecordBatch.from_arrays(
        [pa.array(ids), pa.array(moments), pa.array(rows.place), *columns.values()], names=[ID, MOMENT, PLACE, *columns]
    )
    known = np.flatnonzero(ids != ABSENT)
    order = known[np.argsort(ids[known], kind="stable")]
    dealt, numbers = table.take(pa.array(order)), ids[order] // design.rows_per_shard
    found, starts = np.unique(numbers, return_index=True)
    pieces = [dealt.slice(start, stop - start) for start, stop in itertools.pairwise([*starts.tolist(), len(order)])]
    file = f"segments/{staged.label}"
    if pieces:
        job.scratch.write_batches(file, pieces)
    segments = [Segment(file, position, piece.num_rows) for position, piece in enumerate(pieces)]
    return list(zip(found.tolist(), segments, strict=True)), staged.rows - len(known)


def write_table_shard(
    job: Job, number: int, segments: list[Segment], design: TableDesign, numberings: dict[str, Numbering]
) -> WrittenTableShard:
    """Write one shard: a row for each of its ids."""
    default = _default_segment(job, design, numberings)
    table = pa.concat_batches([*(job.scratch.read_batch(held.file, held.position) for held in segments), default])
    entities = table.slice(0, table.num_rows - 1)
    chosen = choose_rows(job, entities, numberings[str(job.table)])
    first = number * design.rows_per_shard
    rows = min(design.rows - first, design.rows_per_shard)
    taken = np.full(rows, table.num_rows - 1)
    taken[entities.column(ID).to_numpy()[chosen] - first] = chosen
    values = [Values.of(table.column(column.name).take(pa.array(taken))) for column in design.columns]
    path = f"{job.version}/tables/{job.table}/{number:05d}-of-{design.shards:05d}.tfrecord"
    rows_per_block = job.spec.output.rows_per_block

    def blocks() -> Iterator[bytes]:
        for start in range(0, rows, rows_per_block):
            stop = min(rows, start + rows_per_block)
            yield frame(encode_block(design.columns, [held.slice(start, stop) for held in values], stop - start))

    size, crc32c = write_bytes(join(job.base, path), blocks())
    sketches = {
        feature.name: sketch_feature(
            feature, held, rows, numberings[feature.vocabulary].rules.oov_buckets if feature.vocabulary else None
        )
        for feature, held in zip(design.features, values, strict=True)
    }
    shard = Shard(path=path, bytes=size, crc32c=crc32c, rows=rows, blocks=-(-rows // rows_per_block))
    return WrittenTableShard(number, shard, sketches, len(chosen), len(entities) - len(chosen))


def choose_rows(job: Job, entities: pa.RecordBatch, numbering: Numbering) -> np.ndarray:
    """Return the place of the one row of each entity: its latest, or any of several equal ones.

    Raises DataRefused where rows of one entity differ and none of them is later.
    """
    ids, moments, places = (entities.column(name).to_numpy() for name in (ID, MOMENT, PLACE))
    order = np.lexsort((places, moments, ids))
    is_last = np.append(ids[order][1:] != ids[order][:-1], True)[: len(order)]
    before, after = order[:-1], order[1:]
    differ = (ids[before] == ids[after]) & (moments[before] == moments[after]) & (places[before] != places[after])
    # An earlier pair of rows may differ: only those at an entity's last moment contend.
    last_moment = np.repeat(moments[order][is_last], np.diff(np.append(0, np.flatnonzero(is_last) + 1)))
    contend = differ & (moments[before] == last_moment[:-1]) if len(order) else differ
    if contend.any():
        found = np.unique(ids[before][contend])
        raise DataRefused(
            f"tables.{job.table}: {len(found)} entities have several rows that differ, one of them "
            f"{token_of(numbering, int(found[0]), job.scratch)!r}; keep one row for each, or give a "
            "column role time, and the latest row counts"
        )
    return order[is_last]


def _default_segment(job: Job, design: TableDesign, numberings: dict[str, Numbering]) -> pa.RecordBatch:
    rows = read_rows(design.default, job.targets, job.scratch)
    codes = code_ids(design.default, job.targets[1:], numberings, job.scratch)
    columns = map_columns(rows, job.targets[1:], design.columns, design.transforms, codes)
    nothing = [pa.array([0], pa.int64()), pa.array([0], pa.int64()), pa.array([0], pa.uint64())]
    return pa.RecordBatch.from_arrays([*nothing, *columns.values()], names=[ID, MOMENT, PLACE, *columns])


def _default(target: Target) -> pa.Array:
    default = target.null.default if isinstance(target.null, NullDefault) else None
    if target.length is not None:
        numbers = pa.array(np.full(target.length, default or 0, np.float32))
        return pa.FixedSizeListArray.from_arrays(numbers, target.length)
    return pa.array([[] if target.takes_lists else default], target.arrow_type)


def _short(feature: Feature, table: str) -> Feature:
    return feature.model_copy(update={"name": feature.name.removeprefix(f"{table}.")})
