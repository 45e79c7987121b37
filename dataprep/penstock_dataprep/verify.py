"""Read every byte of a dataset and recompute what its manifest claims."""

import concurrent.futures
import os
from collections import Counter
from collections.abc import Callable

import numpy as np

from penstock_dataprep.blocks import Values, decode_block
from penstock_dataprep.certificate import Moments, certify, shard_moments
from penstock_dataprep.examples import decode_examples
from penstock_dataprep.facts import MEAN_DIGITS
from penstock_dataprep.measure import Measured
from penstock_dataprep.progress import BOARD
from penstock_dataprep.storage import checksum, dataset_folder, exists, join, read_bytes
from penstock_dataprep.tfrecord import unframe
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.manifest import File, Manifest, Shard, Split, content_digest, vocabulary_digest
from penstock_shared.tokens import first_token_id

SUMMATION_SLACK = 1e-12  # of the largest value
CERTIFICATE_TOLERANCE = 1e-3  # in z: sums over floats may differ in their last digits


def verify(manifest: Manifest, path: str) -> int:
    """Check every claim of a manifest at `path`, and return how many claims were checked.

    Raises DataRefused naming the first file, and the byte or field in it, that is not as claimed.
    """
    base = dataset_folder(path)
    claims = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        shards = [(name, split, shard) for name, split in manifest.splits.items() for shard in split.shards]
        measured = list(pool.map(lambda task: _verify_shard(manifest, base, task[2]), shards))
        vocabularies = list(pool.map(lambda name: _verify_vocabulary(manifest, base, name), manifest.vocabularies))
        claims += sum(pool.map(lambda file: _verify_file(base, file), manifest.rejects))
    claims += 3 * len(shards) + sum(vocabularies)
    for name, split in manifest.splits.items():
        offsets = [
            offset
            for (owner, _, _), (found, _, _) in zip(shards, measured, strict=True)
            if owner == name
            for offset in found
        ]
        claims += _verify_block_index(base, split, offsets)
    for position, feature in enumerate(manifest.features):
        claims += _verify_statistics(feature, [columns[position] for _, columns, _ in measured], path)
    claims += _verify_certificate(
        manifest, [(task[0], moments) for task, (_, _, moments) in zip(shards, measured, strict=True)], path
    )
    digest = content_digest(manifest.features, manifest.layout, manifest.vocabularies, manifest.splits)
    _expect(path, "digest", manifest.digest, digest)
    return claims + 1


def _verify_shard(manifest: Manifest, base: str, shard: Shard) -> tuple[list[int], list[Measured], dict[str, Moments]]:
    """Return (byte offsets of the blocks, measured features, moments of the order) of a shard that is as claimed."""
    path = join(base, shard.path)
    _verify_file(base, shard)
    reader = READERS[manifest.layout.kind]
    offsets: list[int] = []
    measured = [Measured() for _ in manifest.features]
    found_rows = 0
    for offset, rows, columns in reader(manifest, read_bytes(path), path):
        offsets.append(offset)
        is_last = found_rows + rows == shard.rows
        if rows > manifest.layout.rows_per_block or (rows < manifest.layout.rows_per_block and not is_last):
            raise DataRefused(
                f"{path}: the block at byte {offset} has {rows} rows, expected {manifest.layout.rows_per_block}"
            )
        for held, feature, values in zip(measured, manifest.features, columns, strict=True):
            vocabulary = manifest.vocabularies[feature.vocabulary] if feature.vocabulary else None
            held.add(feature, vocabulary, rows, values, f"{path}: the block at byte {offset}")
        found_rows += rows
        BOARD.advance("verify", rows)
    _expect(path, "rows", shard.rows, found_rows)
    _expect(path, "blocks", shard.blocks, len(offsets))
    whole = [Values(np.concatenate(held.numbers)) if held.numbers else Values(np.zeros(0)) for held in measured]
    scalars = [feature for feature in manifest.features if feature.lengths is None and not feature.nullable]
    certified = shard_moments(
        tuple(scalars), [held for held, feature in zip(whole, manifest.features, strict=True) if feature in scalars]
    )
    return offsets, measured, certified


def _read_blocks(manifest: Manifest, content: bytes, path: str) -> list[tuple[int, int, list[Values]]]:
    columns = tuple(feature.column for feature in manifest.features)
    return [
        (offset, *decode_block(columns, payload, f"{path}: the record at byte {offset}"))
        for offset, payload in unframe(content, path)
    ]


def _read_examples(manifest: Manifest, content: bytes, path: str) -> list[tuple[int, int, list[Values]]]:
    starts = [offset for offset, _ in unframe(content, path)][:: manifest.layout.rows_per_block]
    ends = [*starts[1:], len(content)]
    return [
        (start, *decode_examples(manifest.features, content[start:end], f"{path}: the records from byte {start}"))
        for start, end in zip(starts, ends, strict=True)
    ]


READERS: dict[str, Callable[[Manifest, bytes, str], list[tuple[int, int, list[Values]]]]] = {
    "blocks": _read_blocks,
    "examples": _read_examples,
}


def _verify_file(base: str, file: File) -> int:
    path = join(base, file.path)
    if not exists(path):
        raise DataRefused(f"{path}: missing; the manifest lists it with {file.bytes} bytes")
    size, crc32c = checksum(path)
    if size != file.bytes:
        verb = "truncated" if size < file.bytes else "longer than written"
        raise DataRefused(f"{path}: {verb}: found {size} bytes, the manifest says {file.bytes}")
    if crc32c != file.crc32c:
        raise DataRefused(f"{path}: corrupt: its crc32c is {crc32c}, the manifest says {file.crc32c}{_where(path)}")
    return 2


def _where(path: str) -> str:
    try:
        for _ in unframe(read_bytes(path), path):
            pass
    except DataRefused as fault:
        return f" ({str(fault).removeprefix(path + ': ')})"
    return ""


def _verify_block_index(base: str, split: Split, offsets: list[int]) -> int:
    claims = _verify_file(base, split.block_index)
    path = join(base, split.block_index.path)
    indexed = np.frombuffer(read_bytes(path), "<u8")
    if indexed.tolist() != offsets:
        raise DataRefused(f"{path}: it does not list the byte offsets at which the shards' blocks start")
    return claims + 1


def _verify_vocabulary(manifest: Manifest, base: str, name: str) -> int:
    """Check a vocabulary's tokens: as many as claimed, descending counts, ties by ascending and distinct tokens."""
    held = manifest.vocabularies[name]
    last: tuple[int, bytes | int] | None = None
    total = 0
    for shard in held.shards:
        path = join(base, shard.path)
        _verify_file(base, shard)
        tokens = 0
        for offset, payload in unframe(read_bytes(path), path):
            rows, (token, count) = decode_block(held.columns, payload, f"{path}: the record at byte {offset}")
            tokens += rows
            for entry in _entries(token, count):
                if last is not None and (-entry[0], entry[1]) <= (-last[0], last[1]):
                    raise DataRefused(f"{path}: token {entry[1]!r} does not come after {last[1]!r} by count and token")
                if entry[0] < held.min_count:
                    raise DataRefused(
                        f"{path}: token {entry[1]!r} has count {entry[0]}, below min_count {held.min_count}"
                    )
                last = entry
        _expect(path, "tokens", shard.tokens, tokens)
        total += tokens
    where = f"vocabulary {name}"
    _expect(where, "tokens", held.tokens, total)
    _expect(where, "size", held.size, first_token_id(held.oov_buckets) + total)
    _expect(where, "digest", held.digest, vocabulary_digest(held.oov_buckets, held.columns, held.shards))
    return 3 * len(held.shards) + 3


def _entries(token: Values, count: Values) -> list[tuple[int, bytes | int]]:
    counts = count.numbers.tolist()
    if token.lengths is None:
        return list(zip(counts, token.numbers.tolist(), strict=True))
    content = token.numbers.tobytes()
    ends = np.cumsum(token.lengths, dtype=np.int64)
    starts = ends - token.lengths
    return [(held, content[start:end]) for held, start, end in zip(counts, starts.tolist(), ends.tolist(), strict=True)]


def _verify_statistics(feature: Feature, parts: list[Measured], path: str) -> int:
    claimed = feature.statistics
    where = f"{path}: statistics of {feature.name}"
    sums: Counter[str] = sum((part.sums for part in parts), Counter())
    for quantity in ("rows", "nulls", "values"):
        _expect(where, quantity, getattr(claimed, quantity), sums[quantity])
    _expect(where, "oov", claimed.oov, sums["oov"] if feature.vocabulary else None)
    smallest = min((part.smallest for part in parts if part.smallest is not None), default=None)
    largest = max((part.largest for part in parts if part.largest is not None), default=None)
    _expect(where, "smallest", claimed.smallest, smallest)
    _expect(where, "largest", claimed.largest, largest)
    mean = None if smallest is None else sum(part.total for part in parts) / sums["values"]
    if not _is_mean(claimed.mean, mean, max(abs(smallest or 0), abs(largest or 0))):
        _expect(where, "mean", claimed.mean, mean)
    longest = max((part.longest for part in parts), default=0)
    _expect(where, "longest", claimed.longest, longest if feature.lengths else None)
    return 8


def _is_mean(claimed: float | None, found: float | None, scale: float) -> bool:
    if claimed is None or found is None:
        return claimed is found
    # The claim was rounded; and where values cancel out, what is left of their sum depends on its order.
    return abs(claimed - found) <= 10.0 ** (1 - MEAN_DIGITS) * abs(found) + SUMMATION_SLACK * scale


def _verify_certificate(manifest: Manifest, moments: list[tuple[str, dict[str, Moments]]], path: str) -> int:
    claimed = manifest.shuffle.certificate
    if claimed is None:
        return 0
    found = certify({name: [held for owner, held in moments if owner == name] for name in manifest.splits})
    for split, scores in claimed.z.items():
        for statistic, z in scores.items():
            measured = found.z.get(split, {}).get(statistic)
            if measured is None or abs(measured - z) > CERTIFICATE_TOLERANCE * max(1.0, abs(z)):
                _expect(f"{path}: shuffle.certificate.z.{split}", statistic, z, measured)
    _expect(f"{path}: shuffle.certificate", "passes", claimed.passes, found.passes)
    return sum(len(scores) for scores in claimed.z.values()) + 1


def _expect(where: str, quantity: str, claimed: object, found: object) -> None:
    if claimed != found:
        raise DataRefused(f"{where}: {quantity}: found {found}, the manifest says {claimed}")
