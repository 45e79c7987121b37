"""Read every byte of a dataset and recompute what its manifest claims."""

import concurrent.futures
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from penstock_dataprep.append import increments_of
from penstock_dataprep.blocks import Values, decode_block
from penstock_dataprep.certificate import Moments, certify, shard_moments
from penstock_dataprep.examples import decode_examples
from penstock_dataprep.listing import read_sketches
from penstock_dataprep.progress import BOARD
from penstock_dataprep.sketch import merge_sketches, sketch_feature, statistics
from penstock_dataprep.storage import dataset_folder, join, read_bytes
from penstock_dataprep.tfrecord import unframe
from penstock_dataprep.verify_features import verify_ids, verify_statistics
from penstock_dataprep.verify_files import expect, verify_file
from penstock_dataprep.verify_table import verify_table
from penstock_dataprep.verify_vocabulary import verify_vocabulary
from penstock_shared.digests import manifest_digest
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.manifest import Certificate, Manifest
from penstock_shared.sketches import FeatureSketch
from penstock_shared.splits import Shard, Split

Block = tuple[int, int, list[Values]]  # (byte offset, rows, columns)
CERTIFICATE_TOLERANCE = 1e-3  # in z: sums over floats may differ in their last digits


def verify(manifest: Manifest, path: str) -> int:
    """Check the claims of a manifest at `path`, and return how many claims were checked.

    A vocabulary's coverage and the number of rejected rows are not recomputed.

    Raises DataRefused naming the first file, and the byte or field in it, that is not as claimed.
    """
    base = dataset_folder(path)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        checks = [
            (name, pool.submit(_verify_shard, manifest, base, shard))
            for name, split in manifest.splits.items()
            for shard in split.shards
        ]
        vocabularies = [pool.submit(verify_vocabulary, manifest, base, name) for name in manifest.vocabularies]
        tables = [pool.submit(verify_table, manifest, base, name) for name in manifest.tables]
        rejects = [pool.submit(verify_file, base, file) for file in manifest.rejects]
        claims = sum(check.result() for check in (*vocabularies, *tables, *rejects))
        found = [(name, check.result()) for name, check in checks]
    claims += 3 * len(found)
    for name, split in manifest.splits.items():
        own = [checked for owner, checked in found if owner == name]
        claims += _verify_block_index(base, split, [offset for checked in own for offset in checked.offsets])
        claims += _verify_sketches(base, split, [checked.sketches for checked in own])
    claims += _verify_statistics(manifest.features, [checked for _, checked in found], path)
    for increment in increments_of(manifest):
        own = [checked for _, checked in found if checked.shard.version == increment.version]
        where = f"{path}: increment {increment.version}" if manifest.increments else path
        claims += _verify_statistics(increment.features, own, where) if manifest.increments else 0
        moments = {
            name: [checked.moments for checked in own if checked.shard.written_for == name] for name in increment.rules
        }
        claims += _verify_certificate(increment.certificate, moments, where)
    digest = manifest_digest(manifest)
    expect(path, "digest", manifest.digest, digest)
    return claims + 1


@dataclass(frozen=True)
class Checked:
    """Hold what was found in a shard that is as claimed."""

    shard: Shard
    offsets: list[int]
    sketches: dict[str, FeatureSketch]
    moments: dict[str, Moments]


def _verify_shard(manifest: Manifest, base: str, shard: Shard) -> Checked:
    path = join(base, shard.path)
    verify_file(base, shard)
    reader, features = READERS[manifest.layout.kind], manifest.features_of(shard)
    offsets: list[int] = []
    pieces: list[list[Values]] = [[] for _ in features]
    found_rows = 0
    for offset, rows, columns in reader(features, manifest.layout.rows_per_block, read_bytes(path), path):
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


def _verify_block_index(base: str, split: Split, offsets: list[int]) -> int:
    claims = verify_file(base, split.block_index)
    path = join(base, split.block_index.path)
    indexed = np.frombuffer(read_bytes(path), "<u8")
    if indexed.tolist() != offsets:
        raise DataRefused(f"{path}: it does not list the byte offsets at which the shards' blocks start")
    return claims + 1


def _verify_sketches(base: str, split: Split, sketches: list[dict[str, FeatureSketch]]) -> int:
    if split.statistics is None:
        return 0
    claimed = read_sketches(split, base).shards
    path = join(base, split.statistics.path)
    for position, (held, found) in enumerate(zip(claimed, sketches, strict=True)):
        for name, sketch in found.items():
            expect(f"{path}: shards.{position}", name, held.get(name), sketch)
    return 2 + len(sketches)


def _verify_statistics(features: tuple[Feature, ...], found: list[Checked], path: str) -> int:
    return sum(
        verify_statistics(
            feature, statistics(feature, merge_sketches([checked.sketches[feature.name] for checked in found])), path
        )
        for feature in features
    )


def _verify_certificate(claimed: Certificate | None, moments: dict[str, list[dict[str, Moments]]], path: str) -> int:
    if claimed is None:
        return 0
    found = certify(moments)
    for split, scores in claimed.z.items():
        for statistic, z in scores.items():
            measured = found.z.get(split, {}).get(statistic)
            if measured is None or abs(measured - z) > CERTIFICATE_TOLERANCE * max(1.0, abs(z)):
                expect(f"{path}: shuffle.certificate.z.{split}", statistic, z, measured)
    expect(f"{path}: shuffle.certificate", "passes", claimed.passes, found.passes)
    return sum(len(scores) for scores in claimed.z.values()) + 1
