"""Check what a manifest says was asked for, and that what it says was made is what was asked for."""

from collections.abc import Iterator
from typing import Any

from penstock_dataprep.order.split import make_splitter
from penstock_dataprep.spec.spec import Spec, TimeSplit
from penstock_dataprep.verify.files import expect
from penstock_shared.digests import request_fingerprint, version_of
from penstock_shared.errors import DataRefused
from penstock_shared.manifest import Manifest
from penstock_shared.origin import FileSource
from penstock_shared.strict import parse

Claim = tuple[str, Any, Any]  # (place in the manifest, what it says, what was found)


def verify_request(manifest: Manifest, path: str) -> int:
    """Check name, version, spec, source files, and what the spec decides; return how many claims that is.

    Raises DataRefused.
    """
    spec = parse(Spec, manifest.spec, f"{path}: spec", DataRefused)
    claims = 0
    # One after the other, since what comes later takes for granted what came before.
    for quantity, claimed, found in _claims(manifest, spec):
        expect(path, quantity, claimed, found)
        claims += 1
    return claims


def _claims(manifest: Manifest, spec: Spec) -> Iterator[Claim]:
    yield from _request(manifest)
    yield "name", manifest.name, spec.name
    yield "shuffle.seed", manifest.shuffle.seed, spec.shuffle.seed
    yield "layout.kind", manifest.layout.kind, spec.output.layout
    yield "layout.rows_per_block", manifest.layout.rows_per_block, spec.output.rows_per_block
    yield from _sources(manifest, spec)
    yield from _vocabularies(manifest, spec)
    yield from _rules(manifest, spec)


def _request(manifest: Manifest) -> Iterator[Claim]:
    """Yield the claims about spec and source files, which the fingerprint covers.

    That of a BigQuery table covers a state of the table that no manifest holds.
    """
    yield "version", manifest.version, version_of(manifest.fingerprint)
    own, tables = manifest.source, {name: table.source for name, table in manifest.tables.items()}
    if isinstance(own, FileSource):
        files = {name: _entries(held) for name, held in tables.items() if isinstance(held, FileSource)}
        if len(files) == len(tables):
            found = request_fingerprint(manifest.spec, _entries(own), files, manifest.parent)
            yield "fingerprint (of spec, source files and parent)", manifest.fingerprint, found


def _entries(source: FileSource) -> list[dict[str, Any]]:
    return [file.model_dump() for file in source.files]


def _sources(manifest: Manifest, spec: Spec) -> Iterator[Claim]:
    yield "tables", sorted(manifest.tables), sorted(spec.tables)
    tables = (
        (f"tables.{name}.source", table.source, spec.tables[name].source) for name, table in manifest.tables.items()
    )
    for place, source, asked in (("source", manifest.source, spec.source), *tables):
        yield f"{place}.kind", source.kind, asked.kind
        if isinstance(source, FileSource):
            yield f"{place}.format", source.format, asked.format
            yield f"{place}.bytes", source.bytes, sum(file.bytes for file in source.files)


def _vocabularies(manifest: Manifest, spec: Spec) -> Iterator[Claim]:
    asked = spec.vocabularies()
    for table in spec.tables:
        asked |= spec.table_log(table, manifest.vocabularies[table].token_dtype).vocabularies()
    yield "vocabularies", sorted(manifest.vocabularies), sorted(asked)
    for name, (rules, columns) in asked.items():
        held, place = manifest.vocabularies[name], f"vocabularies.{name}"
        yield f"{place}.shared_by", held.shared_by, columns
        yield f"{place}.counted_over", held.counted_over, rules.of
        for rule in ("encoding", "min_count", "max_size", "oov_buckets"):
            yield f"{place}.{rule}", getattr(held, rule), getattr(rules, rule)
        if rules.encoding == "hash":
            yield f"{place}.counted_values", held.counted_values, 0


def _rules(manifest: Manifest, spec: Spec) -> Iterator[Claim]:
    """Yield the rules of the splits in words; where a split by time is cut is no matter of the spec."""
    if not isinstance(spec.split, TimeSplit):
        splitter = make_splitter(spec, None)
        for name, split in manifest.splits.items():
            yield f"splits.{name}.rule", split.rule, splitter.rule(name)
