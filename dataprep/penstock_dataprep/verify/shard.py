"""Check one shard of a split: its bytes, its rows and blocks, its ids, and what its values add up to."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from penstock_dataprep.order.certificate import Moments, shard_moments
from penstock_dataprep.progress import BOARD
from penstock_dataprep.records.blocks import Values, decode_block
from penstock_dataprep.records.examples_decode import decode_examples
from penstock_dataprep.records.tfrecord import unframe
from penstock_dataprep.statistics.sketch import sketch_feature
from penstock_dataprep.storage.files import join
from penstock_dataprep.verify.counts import Tally
from penstock_dataprep.verify.features import verify_ids
from penstock_dataprep.verify.files import expect, read_verified
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.manifest import Manifest
from penstock_shared.sketches import FeatureSketch
from penstock_shared.splits import Shard

Block = tuple[int, int, list[Values]]  # (byte offset, rows, columns)


@dataclass(frozen=True)
class Checked:
    """Hold what was found in a shard that is as claimed."""

    shard: Shard
    offsets: list[int]
    sketches: dict[str, FeatureSketch]
    moments: dict[str, Moments]


def verify_shard(manifest: Manifest, base: str, shard: Shard, tally: Tally) -> Checked:
    """Check a shard's bytes, rows, blocks and ids, add its ids to `tally`, and return what was found in it.

    Raises DataRefused naming the byte.
    """
    path, content = join(base, shard.path), read_verified(base, shard)
    reader, features = READERS[manifest.layout.kind], manifest.features_of(shard)
    offsets: list[int] = []
    pieces: list[list[Values]] = [[] for _ in features]
    found_rows = 0
    for offset, rows, columns in reader(features, manifest.layout.rows_per_block, content, path):
        offsets.append(offset)
        is_last = found_rows + rows == shard.rows
        if rows > manifest.layout.rows_per_block or (rows < manifest.layout.rows_per_block and not is_last):
            raise DataRefused(
                f"{path}: the block at byte {offset} has {rows} rows, expected {manifest.layout.rows_per_block}"
            )
        if shard.events is not None:
            _verify_lengths([values.lengths for values in columns if values.lengths is not None], path, offset)
        for held, feature, values in zip(pieces, features, columns, strict=True):
            if feature.vocabulary:
                verify_ids(feature, values, manifest.vocabularies[feature.vocabulary].size, path, offset)
            held.append(values)
        found_rows += rows
        BOARD.advance("verify", rows)
    expect(path, "rows", shard.rows, found_rows)
    expect(path, "blocks", shard.blocks, len(offsets))
    whole = [Values.concatenate(held) for held in pieces]
    if shard.events is not None:
        lists = [held for held in whole if held.lengths is not None]
        expect(path, "events", shard.events, len(lists[0].numbers) if lists else None)
    for feature, values in zip(features, whole, strict=True):
        tally.add(shard, feature, values)
    buckets = {name: vocabulary.oov_buckets for name, vocabulary in manifest.vocabularies.items()}
    sketches = {
        feature.name: sketch_feature(feature, held, found_rows, buckets.get(feature.vocabulary or ""))
        for feature, held in zip(features, whole, strict=True)
    }
    return Checked(shard, offsets, sketches, shard_moments(features, whole))


def _verify_lengths(lengths: list[np.ndarray], path: str, offset: int) -> None:
    if any(not np.array_equal(other, lengths[0]) for other in lengths[1:]):
        raise DataRefused(f"{path}: the block at byte {offset} has a sequence whose lists differ in length")


def _read_blocks(features: tuple[Feature, ...], rows_per_block: int, content: bytes, path: str) -> list[Block]:
    columns = tuple(feature.column for feature in features)
    return [
        (offset, *decode_block(columns, payload, f"{path}: the record at byte {offset}"))
        for offset, payload in unframe(content, path)
    ]


def _read_examples(features: tuple[Feature, ...], rows_per_block: int, content: bytes, path: str) -> list[Block]:
    starts = [offset for offset, _ in unframe(content, path)][::rows_per_block]
    ends = [*starts[1:], len(content)]
    return [
        (start, *decode_examples(features, content[start:end], f"{path}: the records from byte {start}"))
        for start, end in zip(starts, ends, strict=True)
    ]


READERS: dict[str, Callable[[tuple[Feature, ...], int, bytes, str], list[Block]]] = {
    "blocks": _read_blocks,
    "examples": _read_examples,
}
