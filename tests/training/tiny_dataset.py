"""Write small datasets for the trainer's tests: every storage, both layouts, several shards, straight from arrays."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import google_crc32c
import numpy as np
import tensorflow as tf

from penstock_dataprep.records.blocks import Values, encode_block
from penstock_dataprep.records.tfrecord import frame
from penstock_shared import (
    MANIFEST_NAME,
    Column,
    Feature,
    Manifest,
    RecordLayout,
    Shard,
    Split,
    Statistics,
    Vocabulary,
    dump_manifest,
)
from penstock_shared.digests import content_digest, vocabulary_digest
from penstock_shared.files import File
from penstock_shared.layout import narrowest_integer, narrowest_length
from penstock_shared.manifest import Accounting, Shuffle
from penstock_shared.origin import FileSource, Tool
from penstock_shared.tokens import FIRST_OOV_ID, first_token_id, hash_token, oov_id
from penstock_shared.vocabularies import VocabularyShard

TOKENS_PER_BLOCK = 1000


@dataclass
class TinyColumn:
    """Describe one feature to write; `vocabulary` names the TinyVocabulary whose ids `values` hold."""

    name: str
    role: str
    dtype: str
    storage: str
    lengths: str | None = None
    nullable: bool = False
    vocabulary: str | None = None
    padding: int | float = 0
    shape: tuple[()] | tuple[int] = ()


@dataclass
class TinyVocabulary:
    """Count raw tokens and give them ids as penstock_shared.tokens says."""

    token_dtype: str
    counts: dict[int | str, int]
    min_count: int = 1
    oov_buckets: int = 1
    ids: dict[int | str, int] = field(init=False)

    def __post_init__(self) -> None:
        kept = [token for token, count in self.counts.items() if count >= self.min_count]
        kept.sort(key=lambda token: (-self.counts[token], token.encode() if isinstance(token, str) else token))
        self.ids = {token: first_token_id(self.oov_buckets) + place for place, token in enumerate(kept)}

    @property
    def size(self) -> int:
        """Return the number of ids, reserved ones included."""
        return first_token_id(self.oov_buckets) + len(self.ids)

    def id_of(self, token: int | str) -> int:
        """Return a token's id, or the out-of-vocabulary id its hash gives."""
        return self.ids.get(token, oov_id(hash_token(token), self.oov_buckets))

    def map(self, tokens: np.ndarray) -> np.ndarray:
        """Return the ids of an array of tokens."""
        return np.array([self.id_of(token) for token in tokens.tolist()], np.int64)


def write_dataset(
    root: Path,
    columns: list[TinyColumn],
    splits: dict[str, list[dict[str, Values]]],
    vocabularies: dict[str, TinyVocabulary] | None = None,
    rows_per_block: int = 16,
    layout: str = "blocks",
    name: str = "tiny",
) -> Path:
    """Write a dataset whose splits are lists of shards, each a dict of column values; return its manifest's path."""
    folder = root / name
    version = folder / "v1"
    version.mkdir(parents=True)
    record_layout = RecordLayout(kind=layout, rows_per_block=rows_per_block)
    described = {key: _write_vocabulary(folder, key, held) for key, held in (vocabularies or {}).items()}
    features = tuple(_feature(column, splits, vocabularies or {}) for column in columns)
    written = {key: _write_split(folder, key, shards, features, record_layout) for key, shards in splits.items()}
    rows = sum(split.rows for split in written.values())
    manifest = Manifest(
        format_version="1.0",
        name=name,
        version="v1",
        created="2026-01-01T00:00:00Z",
        fingerprint="0" * 64,
        digest=content_digest(features, record_layout, described, written),
        source=FileSource(kind="files", format="csv", files=(), rows=rows, bytes=0, columns={}),
        spec={},
        features=features,
        vocabularies=described,
        layout=record_layout,
        splits=written,
        shuffle=Shuffle(seed=0, method="keyed-hash/1"),
        accounting=Accounting(read=rows, written=rows, filtered={}, rejected={}),
        rejects=(),
        tool=Tool(version="0", git_commit=None, runner="tests"),
    )
    path = version / MANIFEST_NAME
    path.write_text(dump_manifest(manifest))
    return path


def _feature(
    column: TinyColumn, splits: dict[str, list[dict[str, Values]]], vocabularies: dict[str, TinyVocabulary]
) -> Feature:
    held = [shard[column.name] for shards in splits.values() for shard in shards]
    lengths = np.concatenate([values.lengths for values in held]) if column.lengths else None
    numbers = np.concatenate([values.numbers for values in held])
    rows = len(numbers) if lengths is None else len(lengths)
    nulls = int(sum((~values.present).sum() for values in held)) if column.nullable else 0
    oov = None
    if column.vocabulary:
        first = first_token_id(vocabularies[column.vocabulary].oov_buckets)
        oov = int(((numbers >= FIRST_OOV_ID) & (numbers < first)).sum())
    statistics = Statistics(
        rows=rows,
        nulls=nulls,
        values=numbers.size - nulls,
        oov=oov,
        smallest=np.nanmin(numbers).item() if len(numbers) else None,
        largest=np.nanmax(numbers).item() if len(numbers) else None,
        mean=float(f"{np.nanmean(numbers):.9g}") if len(numbers) else None,
        longest=int(lengths.max(initial=0)) if lengths is not None else None,
    )
    return Feature(**vars(column), statistics=statistics)


def _write_split(
    folder: Path, split_name: str, shards: list[dict[str, Values]], features: tuple[Feature, ...], layout: RecordLayout
) -> Split:
    described, index = [], b""
    for number, values in enumerate(shards):
        rows = _rows(values, features)
        content, offsets = b"", []
        for start in range(0, rows, layout.rows_per_block):
            stop = min(rows, start + layout.rows_per_block)
            run = [values[feature.name].slice(start, stop) for feature in features]
            offsets.append(len(content))
            if layout.kind == "blocks":
                content += frame(encode_block(tuple(feature.column for feature in features), run, stop - start))
            else:
                content += b"".join(frame(_example(features, run, row)) for row in range(stop - start))
        index += struct.pack(f"<{len(offsets)}Q", *offsets)
        file = _write(folder, f"v1/{split_name}/{number:05d}.tfrecord", content)
        described.append(Shard(**file.model_dump(), rows=rows, blocks=len(offsets)))
    return Split(
        rule="test",
        rows=sum(shard.rows for shard in described),
        blocks=sum(shard.blocks for shard in described),
        bytes=sum(shard.bytes for shard in described),
        shards=tuple(described),
        block_index=_write(folder, f"v1/{split_name}/blocks.index", index),
    )


def _write_vocabulary(folder: Path, name: str, held: TinyVocabulary) -> Vocabulary:
    tokens = list(held.ids)
    counts = [held.counts[token] for token in tokens]
    count = Column(name="count", storage=narrowest_integer(0, max(counts)))
    if held.token_dtype == "string":
        encoded = [token.encode() for token in tokens]
        token = Column(name="token", storage="u8", lengths=narrowest_length(max(map(len, encoded))))
        values = Values(np.frombuffer(b"".join(encoded), np.uint8), np.array([len(piece) for piece in encoded]))
    else:
        token = Column(name="token", storage=narrowest_integer(min(tokens), max(tokens)))
        values = Values(np.array(tokens, np.int64))
    columns = (token, count)
    both = (values, Values(np.array(counts, np.int64)))
    content = b""
    for start in range(0, len(tokens), TOKENS_PER_BLOCK):
        stop = min(len(tokens), start + TOKENS_PER_BLOCK)
        content += frame(encode_block(columns, [column.slice(start, stop) for column in both], stop - start))
    file = _write(folder, f"v1/vocabularies/{name}/00000.tfrecord", content)
    shards = (VocabularyShard(**file.model_dump(), tokens=len(tokens)),)
    total = sum(held.counts.values())
    return Vocabulary(
        token_dtype=held.token_dtype,
        encoding="table",
        size=held.size,
        tokens=len(tokens),
        oov_buckets=held.oov_buckets,
        min_count=held.min_count,
        max_size=None,
        counted_over="train",
        counted_values=total,
        coverage=sum(counts) / total,
        shared_by=(name,),
        columns=columns,
        shards=shards,
        digest=vocabulary_digest(held.oov_buckets, columns, shards),
    )


def _write(folder: Path, path: str, content: bytes) -> File:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return File(path=path, bytes=len(content), crc32c=f"{google_crc32c.value(content):08x}")


def _rows(values: dict[str, Values], features: tuple[Feature, ...]) -> int:
    first = values[features[0].name]
    return len(first.numbers if first.lengths is None else first.lengths)


def _example(features: tuple[Feature, ...], run: list[Values], row: int) -> bytes:
    example = tf.train.Example()
    for feature, values in zip(features, run, strict=True):
        one = values.slice(row, row + 1)
        if one.present is not None and not one.present[0]:
            continue
        if feature.storage in ("f16", "bf16", "f32"):
            example.features.feature[feature.name].float_list.value.extend(one.numbers.reshape(-1).tolist())
        else:
            example.features.feature[feature.name].int64_list.value.extend(one.numbers.tolist())
    return example.SerializeToString()
