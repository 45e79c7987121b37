"""Check what a manifest says was asked for, and that what it says was made is what was asked for."""

from collections.abc import Iterator
from typing import Any

from penstock_dataprep.order.certificate import LIMIT_Z
from penstock_dataprep.order.split import interval, make_splitter
from penstock_dataprep.spec.spec import Spec, TimeSplit
from penstock_dataprep.transforms.time_part import TimePartRule
from penstock_dataprep.verify.files import expect
from penstock_dataprep.versions.append import increments_of
from penstock_shared.digests import request_fingerprint, version_of
from penstock_shared.errors import DataRefused
from penstock_shared.manifest import Manifest
from penstock_shared.origin import FileSource
from penstock_shared.strict import parse
from penstock_shared.tokens import PADDING_ID

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
    yield from _features(manifest, spec)
    if manifest.shuffle.certificate is not None:
        yield "shuffle.certificate.limit_z", manifest.shuffle.certificate.limit_z, LIMIT_Z
    if manifest.tails is not None:
        yield "tails.key", manifest.tails.key, spec.history and spec.history.key
        yield "tails.kept", manifest.tails.kept, spec.history and spec.history.tail_length


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
    if isinstance(spec.split, TimeSplit):
        time, rules = spec.role("time") or "", increments_of(manifest)[-1].rules
        for name, split in manifest.splits.items():
            rule = rules.get(name, "")
            yield f"splits.{name}.rule", split.rule, split.rule if split.rule.startswith(rule) else rule
            yield f"splits.{name}.rule", rule, rule if interval(rule, time) is not None else f"no interval of {time}"
    else:
        splitter = make_splitter(spec, None)
        for name, split in manifest.splits.items():
            yield f"splits.{name}.rule", split.rule, splitter.rule(name)


def _features(manifest: Manifest, spec: Spec) -> Iterator[Claim]:
    for feature in manifest.features:
        place, column = f"features.{feature.name}", spec.columns.get(feature.name)
        yield f"{place}.padding", feature.padding, PADDING_ID
        rule = column.transform if column is not None else None
        # The unit of a time is its column's where the spec gives none.
        if rule is not None and not rule.is_measured and not isinstance(rule, TimePartRule):
            yield f"{place}.transform", feature.transform, rule.settle(None)
