"""Describe a dataset to a person in plain text."""

from penstock_dataprep.versions.diff import drift_table
from penstock_dataprep.versions.text_table import text_table
from penstock_shared.features import Feature
from penstock_shared.manifest import Certificate, Manifest
from penstock_shared.origin import FileSource, Source
from penstock_shared.sketches import FeatureDrift
from penstock_shared.splits import Split
from penstock_shared.tails import Tails


def describe(manifest: Manifest) -> str:
    """Return a page of text: rows, features, vocabularies, files."""
    account = manifest.accounting
    lines = [
        f"{manifest.name}  version {manifest.version}  created {manifest.created}",
        f"digest {manifest.digest}",
        f"source {describe_source(manifest.source)}",
        "",
        text_table(
            ("rows", "count", ""),
            [("read", f"{account.read:,}", "")]
            + [(f"written: {name}", show_rows(split), split.rule) for name, split in manifest.splits.items()]
            + [(f"filtered: {rule}", f"{count:,}", "") for rule, count in account.filtered.items()]
            + [(f"rejected: {reason}", f"{count:,}", "") for reason, count in account.rejected.items()],
        ),
        "",
        text_table(
            ("feature", "role", "dtype", "stored as", "nulls", "oov", "smallest", "mean", "largest"),
            [
                (
                    feature.name,
                    feature.role,
                    feature.dtype,
                    stored_as(feature),
                    f"{feature.statistics.nulls:,}",
                    *(
                        "" if value is None else f"{value:,}"
                        for value in (
                            feature.statistics.oov,
                            feature.statistics.smallest,
                            feature.statistics.mean,
                            feature.statistics.largest,
                        )
                    ),
                )
                for feature in manifest.features
            ],
        ),
        "",
        text_table(
            ("vocabulary", "ids", "tokens", "token dtype", "min count", "counted over", "coverage"),
            [
                (
                    name,
                    f"{held.size:,}",
                    f"{held.tokens:,}",
                    held.token_dtype,
                    f"{held.min_count:,}",
                    held.counted_over,
                    f"{held.coverage:.4%}",
                )
                for name, held in manifest.vocabularies.items()
            ],
        ),
        *_tokens(manifest),
        *_tables(manifest),
        "",
        text_table(
            ("split", "shards", "blocks", "bytes", "bytes/row"),
            [
                (
                    name,
                    f"{len(split.shards):,}",
                    f"{split.blocks:,}",
                    f"{split.bytes:,}",
                    f"{split.bytes / split.rows:.2f}" if split.rows else "",
                )
                for name, split in manifest.splits.items()
            ],
        ),
        "",
        f"shuffle seed {manifest.shuffle.seed}, {_verdict(manifest)}",
    ]
    if manifest.tails is not None:
        lines.append(show_tails(manifest.tails))
    if drifted := all_drift(manifest):
        parent = manifest.parent.version if manifest.parent else ""
        lines += ["", f"against version {parent}", text_table(*drift_table(drifted))]
    return "\n".join(lines)


def stored_as(feature: Feature) -> str:
    """Return a feature's storage in words."""
    return feature.storage + (f" list, up to {feature.statistics.longest:,}" if feature.lengths else "")


def show_rows(split: Split) -> str:
    """Return the source rows of a split, and the sequences that hold them."""
    return f"{split.source_rows:,} in {split.rows:,} sequences" if split.holds_sequences else f"{split.rows:,}"


def show_tails(tails: Tails) -> str:
    """Return what is kept for the histories of rows to come, in a line."""
    return (
        f"keeps {tails.events:,} events in {tails.bytes:,} bytes for histories of rows appended later: of each of "
        f"{tails.keys:,} values of {tails.key} the latest {tails.kept:,}"
    )


def curve_table(manifest: Manifest) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return a header and, by vocabulary, the coverage of its most frequent 1, 10, 100, ... and all tokens."""
    curves = {
        name: {point.tokens: point.coverage for point in held.curve} for name, held in manifest.vocabularies.items()
    }
    most = max((max(curve, default=0) for curve in curves.values()), default=0)
    places = [10**power for power in range(len(str(most))) if 10**power < most]
    rows = [
        (name, *(f"{curve[place]:.2%}" if place in curve else "" for place in places), f"{max(curve.values()):.2%}")
        for name, curve in curves.items()
        if curve
    ]
    return ("coverage of the first", *(f"{place:,}" for place in places), "all"), rows


def oov_table(manifest: Manifest) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return a header and, by feature, the share of its values outside the vocabulary in each split."""
    names = [feature.name for feature in manifest.features if feature.vocabulary is not None]
    rows = [
        (
            name,
            *(f"{split.oov_share[name]:.4%}" if name in split.oov_share else "" for split in manifest.splits.values()),
        )
        for name in names
    ]
    return ("out of vocabulary", *manifest.splits), rows


def _tokens(manifest: Manifest) -> list[str]:
    """Return the lines about coverage and values outside of vocabularies, none where there are none."""
    found = [table for table in (curve_table(manifest), oov_table(manifest)) if table[1]]
    return [line for header, rows in found for line in ("", text_table(header, rows))]


def _tables(manifest: Manifest) -> list[str]:
    """Return the lines about entity tables, none where there are none."""
    if not manifest.tables:
        return []
    counts = [
        (
            name,
            f"{table.rows:,}",
            f"{table.accounting.read:,}",
            f"{table.missing:,}",
            f"{table.accounting.filtered['unmatched']:,}",
            f"{sum(table.accounting.rejected.values()):,}",
        )
        for name, table in manifest.tables.items()
    ]
    features = [
        (
            f"{name}.{feature.name}",
            feature.dtype,
            feature.storage + (" list" if feature.lengths else ""),
            feature.transform.kind if feature.transform else "",
            f"{feature.statistics.nulls:,}",
        )
        for name, table in manifest.tables.items()
        for feature in table.features
    ]
    return [
        "",
        text_table(("entity table", "rows", "entities read", "ids without", "without an id", "rejected"), counts),
        "",
        text_table(("entity feature", "dtype", "stored as", "transform", "nulls"), features),
    ]


def all_drift(manifest: Manifest) -> dict[str, FeatureDrift]:
    """Return the drift of each feature of the log and, as `table.feature`, of the entity tables."""
    tables = manifest.tables.items()
    of_tables = {f"{name}.{feature}": held for name, table in tables for feature, held in table.drift.items()}
    return {**manifest.drift, **of_tables}


def _verdict(manifest: Manifest) -> str:
    """Return what is known of the order: of a version that grew, that of each build on its own."""
    if manifest.shuffle.certificate is not None:
        return _certificate(manifest.shuffle.certificate)
    builds = [(increment.version, increment.certificate) for increment in manifest.increments]
    failing = [version for version, held in builds if held is None or not held.passes]
    if builds and not failing:
        return f"certified uniform in each of {len(builds)} builds"
    return f"NOT CERTIFIED: the order in builds {', '.join(failing)}" if builds else "not certified"


def _certificate(certificate: Certificate) -> str:
    worst = max(
        ((abs(z), name, split) for split, held in certificate.z.items() for name, z in held.items()), default=None
    )
    verdict = "certified uniform" if certificate.passes else "NOT CERTIFIED: the order is not a uniform permutation"
    return verdict + (
        f": worst z {worst[0]:.2f} ({worst[1]} in {worst[2]}), limit {certificate.limit_z:g}" if worst else ""
    )


def describe_source(source: Source) -> str:
    """Return what was read, in a line."""
    if isinstance(source, FileSource):
        return f"{len(source.files)} {source.format} file(s), {source.bytes:,} bytes"
    where = f" where {source.where}" if source.where else ""
    what = f"the result of a query in {source.table}" if source.query else source.table
    return f"BigQuery: {what}{where}, as of {source.snapshot_time}"
