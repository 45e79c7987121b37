"""Write one shard: gather its segments, put the rows in their final order, encode and frame them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.blocks import Values, encode_block
from penstock_dataprep.certificate import Moments, shard_moments
from penstock_dataprep.examples import encode_examples
from penstock_dataprep.hashing import fold_lists
from penstock_dataprep.mapping import Segment
from penstock_dataprep.scratch import Scratch
from penstock_dataprep.shuffle import order_rows
from penstock_dataprep.sketch import sketch_feature
from penstock_dataprep.staged import PLACE
from penstock_dataprep.storage import join, write_bytes
from penstock_dataprep.tfrecord import frame
from penstock_shared.features import Feature
from penstock_shared.layout import RecordLayout
from penstock_shared.sketches import FeatureSketch
from penstock_shared.splits import Shard


@dataclass(frozen=True)
class ShardTask:
    """Say which shard to write, as what, and where: `path` is relative to the dataset folder `base`.

    `counting` names the list feature with one value per source row, where rows are sequences of them.
    """

    split: str
    position: int
    shards: int
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
    segments: list[Segment],
    features: tuple[Feature, ...],
    layout: RecordLayout,
    drop_copies: bool,
    oov_buckets: dict[str, int],
    scratch: Scratch,
) -> WrittenShard:
    """Write a shard whole or not at all; `oov_buckets` is by vocabulary."""
    batches = [scratch.read_batch(segment.file, segment.position) for segment in segments]
    table = pa.concat_batches(batches)
    arrays = [table.column(feature.name) for feature in features]
    places = table.column(PLACE).to_numpy()

    def content_of(rows: np.ndarray) -> list[np.ndarray]:
        return content([array.take(pa.array(rows)) for array in arrays])

    order = order_rows(places, content_of, task.position, task.shards, drop_copies)
    taken = pa.array(order)
    values = [to_values(array.take(taken)) for array in arrays]
    offsets: list[int] = []
    pieces = ENCODERS[layout.kind](features, values, len(order), layout.rows_per_block, offsets)
    size, crc32c = write_bytes(join(task.base, task.path), pieces)
    named = {feature.name: held for feature, held in zip(features, values, strict=True)}
    events = None if task.counting is None else len(named[task.counting].numbers)
    shard = Shard(path=task.path, bytes=size, crc32c=crc32c, rows=len(order), events=events, blocks=len(offsets))
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
        len(places) - len(order),
    )


def to_values(array: pa.Array) -> Values:
    """Return an Arrow column as the numbers that the encoders take."""
    if pa.types.is_list(array.type):
        return Values(array.flatten().to_numpy(), np.diff(array.offsets.to_numpy()))
    if pa.types.is_fixed_size_list(array.type):
        return Values(array.flatten().to_numpy().reshape(len(array), array.type.list_size))
    if array.null_count:
        return Values(array.fill_null(0).to_numpy(), present=array.is_valid().to_numpy(zero_copy_only=False))
    return Values(array.to_numpy())


def content(arrays: list[pa.Array]) -> list[np.ndarray]:
    """Return arrays that together tell rows apart; a list stands as its hash."""
    found = []
    for array in arrays:
        values = to_values(array)
        if values.lengths is not None:
            hashes = np.zeros(len(array), np.uint64)
            fold_lists(hashes, _bits(values.numbers), values.lengths)
            found.append(hashes)
            continue
        found += list(values.numbers.T) if values.numbers.ndim == 2 else [values.numbers]
        if values.present is not None:
            found.append(values.present)
    return found


def _bits(numbers: np.ndarray) -> np.ndarray:
    whole = numbers.astype(np.float32) if numbers.dtype.kind == "f" else numbers
    return (whole.view(np.uint32) if whole.dtype.kind == "f" else whole).astype(np.uint64)


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
