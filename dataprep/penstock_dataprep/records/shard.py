"""Write one shard: put its rows in their final order, encode and frame them."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from penstock_dataprep.order.cells import order_cells
from penstock_dataprep.order.certificate import Moments, shard_moments
from penstock_dataprep.records.blocks import Values, encode_block
from penstock_dataprep.records.examples import encode_examples
from penstock_dataprep.records.tfrecord import frame
from penstock_dataprep.statistics.sketch import sketch_feature
from penstock_dataprep.storage.files import join, write_bytes
from penstock_shared.features import Feature
from penstock_shared.layout import RecordLayout
from penstock_shared.sketches import FeatureSketch
from penstock_shared.splits import Shard


@dataclass(frozen=True)
class ShardTask:
    """Say which shard to write, as what, and where: `path` is relative to the dataset folder `base`.

    Its rows come dealt in `cells` cells (see cells.py).
    `counting` names the list feature with one value per source row, where rows are sequences of them.
    """

    split: str
    position: int
    shards: int
    cells: int
    base: str
    path: str
    counting: str | None


@dataclass(frozen=True)
class WrittenShard:
    """Hold a shard's manifest entry, its blocks' byte offsets, its moments and sketches, and the copies it lost."""

    split: str
    position: int
    shard: Shard
    block_offsets: tuple[int, ...]
    moments: dict[str, Moments]
    sketches: dict[str, FeatureSketch]
    copies: int


def write_shard(
    task: ShardTask,
    batches: list[pa.RecordBatch],
    features: tuple[Feature, ...],
    layout: RecordLayout,
    drop_copies: bool,
    oov_buckets: dict[str, int],
) -> WrittenShard:
    """Write the rows of some batches, each dealt by cell, as a shard, whole or not at all.

    `oov_buckets` is by vocabulary.
    """
    ordered = order_cells(batches, task.position, task.shards, task.cells, drop_copies)
    rows = sum(cell.num_rows for cell in ordered)
    values = [Values.of(pa.concat_arrays([cell.column(feature.name) for cell in ordered])) for feature in features]
    offsets: list[int] = []
    pieces = ENCODERS[layout.kind](features, values, rows, layout.rows_per_block, offsets)
    size, crc32c = write_bytes(join(task.base, task.path), pieces)
    named = {feature.name: held for feature, held in zip(features, values, strict=True)}
    events = None if task.counting is None else len(named[task.counting].numbers)
    shard = Shard(path=task.path, bytes=size, crc32c=crc32c, rows=rows, events=events, blocks=len(offsets))
    sketches = {
        feature.name: sketch_feature(feature, held, shard.rows, oov_buckets.get(feature.vocabulary or ""))
        for feature, held in zip(features, values, strict=True)
    }
    return WrittenShard(
        task.split,
        task.position,
        shard,
        tuple(offsets),
        shard_moments(features, values),
        sketches,
        sum(batch.num_rows for batch in batches) - rows,
    )


def _encode_blocks(
    features: tuple[Feature, ...], values: list[Values], rows: int, rows_per_block: int, offsets: list[int]
) -> Iterator[bytes]:
    columns = tuple(feature.column for feature in features)
    written = 0
    for start in range(0, rows, rows_per_block):
        stop = min(rows, start + rows_per_block)
        record = frame(encode_block(columns, [held.slice(start, stop) for held in values], stop - start))
        offsets.append(written)
        written += len(record)
        yield record


def _encode_examples(
    features: tuple[Feature, ...], values: list[Values], rows: int, rows_per_block: int, offsets: list[int]
) -> Iterator[bytes]:
    written = 0
    for start in range(0, rows, rows_per_block):
        stop = min(rows, start + rows_per_block)
        records, _ = encode_examples(features, [held.slice(start, stop) for held in values], stop - start)
        offsets.append(written)
        written += len(records)
        yield records


ENCODERS = {"blocks": _encode_blocks, "examples": _encode_examples}
