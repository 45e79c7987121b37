"""Tell by a digest what a trainer would read, and by a fingerprint what was asked for."""

import hashlib
import json
from typing import Any

from pydantic import JsonValue

from penstock_shared.features import Feature
from penstock_shared.layout import LAYOUT_VERSION, Column, RecordLayout
from penstock_shared.manifest import Increment, Manifest, Table
from penstock_shared.origin import Parent
from penstock_shared.splits import Shard, Split
from penstock_shared.tails import Tails
from penstock_shared.vocabularies import Vocabulary, VocabularyShard

VERSION_DIGITS = 12


def manifest_digest(manifest: Manifest) -> str:
    """Return the digest of what a manifest describes, to hold against the one it states."""
    return content_digest(
        manifest.features,
        manifest.layout,
        manifest.vocabularies,
        manifest.splits,
        manifest.increments,
        manifest.tables,
        manifest.tails,
    )


def content_digest(
    features: tuple[Feature, ...],
    layout: RecordLayout,
    vocabularies: dict[str, Vocabulary],
    splits: dict[str, Split],
    increments: tuple[Increment, ...] = (),
    tables: dict[str, Table] | None = None,
    tails: Tails | None = None,
) -> str:
    """Return the sha256 of what a trainer or an append would read: columns, tokens, rows in their order, tails.

    Where files lie, when and by what they were built does not count.
    """
    document = {
        "layout": layout.model_dump(),
        "features": _digested(features),
        "vocabularies": {name: vocabulary.digest for name, vocabulary in vocabularies.items()},
        "splits": {name: _digested_shards(split.shards) for name, split in splits.items()},
    }
    if tables:
        document["tables"] = {
            name: {"features": _digested(table.features), "shards": _digested_shards(table.shards)}
            for name, table in tables.items()
        }
    if increments:
        place = {increment.version: number for number, increment in enumerate(increments)}
        document["columns"] = [[feature.column.digested() for feature in held.features] for held in increments]
        document["increments"] = {
            name: [place[shard.version] for shard in held.shards] for name, held in splits.items()
        }
    if tails is not None:
        document["tails"] = {
            "key": tails.key,
            "kept": tails.kept,
            "columns": [column.digested() for column in tails.block_columns],
            "files": [[file.partition, file.keys, file.events, file.bytes, file.crc32c] for file in tails.files],
        }
    return fingerprint(document)


def _digested(features: tuple[Feature, ...]) -> list[JsonValue]:
    return [[feature.role, feature.dtype, feature.vocabulary, feature.column.digested()] for feature in features]


def _digested_shards(shards: tuple[Shard, ...]) -> list[JsonValue]:
    return [[shard.rows, shard.bytes, shard.crc32c] for shard in shards]


def request_fingerprint(spec: JsonValue, source: Any, tables: dict[str, Any], parent: Parent | None) -> str:
    """Return the sha256 of what a build was asked for: equal ones make the same dataset.

    `source`, and `tables` by table, say what the sources held: of files, their entries in the manifest.
    """
    document = {"spec": spec, "source": source, "tables": tables, "layout_version": LAYOUT_VERSION}
    if parent is not None:
        document["parent"] = parent.model_dump()
    return fingerprint(document)


def version_of(request: str) -> str:
    """Return the name of the version that a build of a request's fingerprint makes."""
    return request[:VERSION_DIGITS]


def vocabulary_digest(oov_buckets: int, columns: tuple[Column, ...], shards: tuple[VocabularyShard, ...]) -> str:
    """Return the sha256 of a vocabulary's ids: its reserved ids and its tokens in order."""
    return fingerprint(
        {
            "oov_buckets": oov_buckets,
            "columns": [column.digested() for column in columns],
            "shards": [[shard.tokens, shard.bytes, shard.crc32c] for shard in shards],
        }
    )


def fingerprint(document: Any) -> str:
    """Return the sha256 of a JSON value in canonical form (sorted keys, no blanks, UTF-8)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
