"""Render the dataset card: one HTML page, without scripts or outside files, that tells a person what a dataset is."""

import html
from collections.abc import Iterable

from penstock_dataprep.versions.diff import drift_table
from penstock_dataprep.versions.show import (
    all_drift,
    curve_table,
    describe_source,
    oov_table,
    show_rows,
    show_tails,
    stored_as,
)
from penstock_shared.manifest import Manifest

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c2733 }
h1 { margin-bottom: 0 } h2 { margin-top: 2rem; border-bottom: 1px solid #cdd6df }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .25rem .75rem .25rem 0 }
th { font-weight: 600; color: #52606d } td { border-top: 1px solid #e4e9ee; font-variant-numeric: tabular-nums }
code { font-size: 90% }
"""


def render_card(manifest: Manifest) -> str:
    """Return the card of a manifest as an HTML page."""
    account = manifest.accounting
    sections = [
        f"<h1>{html.escape(manifest.name)}</h1>",
        f"<p>version <code>{manifest.version}</code>, created {html.escape(manifest.created)}, "
        f"digest <code>{manifest.digest[:16]}</code></p>",
        "<h2>Rows</h2>",
        _table(
            ("", "rows", "why"),
            [("read", f"{account.read:,}", describe_source(manifest.source))]
            + [(f"written: {name}", show_rows(split), split.rule) for name, split in manifest.splits.items()]
            + [("filtered", f"{count:,}", rule) for rule, count in account.filtered.items()]
            + [("rejected", f"{count:,}", reason) for reason, count in account.rejected.items()],
        ),
        "<h2>Features</h2>",
        _table(
            ("feature", "role", "dtype", "stored as", "nulls", "out of vocabulary", "smallest", "mean", "largest"),
            [
                (
                    feature.name,
                    feature.role,
                    feature.dtype,
                    stored_as(feature),
                    f"{feature.statistics.nulls:,}",
                    _show(feature.statistics.oov),
                    _show(feature.statistics.smallest),
                    _show(feature.statistics.mean),
                    _show(feature.statistics.largest),
                )
                for feature in manifest.features
            ],
        ),
        "<h2>Vocabularies</h2>",
        _table(
            ("vocabulary", "ids", "tokens", "at least", "counted over", "coverage"),
            [
                (
                    name,
                    f"{held.size:,}",
                    f"{held.tokens:,}",
                    str(held.min_count),
                    held.counted_over,
                    f"{held.coverage:.4%}",
                )
                for name, held in manifest.vocabularies.items()
            ],
        ),
        *(_table(*table) for table in (curve_table(manifest), oov_table(manifest)) if table[1]),
        *_tables(manifest),
        *_drift(manifest),
        "<h2>Files</h2>",
        _table(
            ("split", "shards", "blocks", "bytes"),
            [
                (name, f"{len(split.shards):,}", f"{split.blocks:,}", f"{split.bytes:,}")
                for name, split in manifest.splits.items()
            ],
        ),
        *([] if manifest.tails is None else [f"<p>It {html.escape(show_tails(manifest.tails))}.</p>"]),
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(manifest.name)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(sections)}</body></html>\n'


def _drift(manifest: Manifest) -> list[str]:
    if manifest.parent is None:
        return []
    return [f"<h2>Drift against version {manifest.parent.version}</h2>", _table(*drift_table(all_drift(manifest)))]


def _tables(manifest: Manifest) -> list[str]:
    if not manifest.tables:
        return []
    return [
        "<h2>Entity tables</h2>",
        _table(
            ("table", "rows", "entities read", "ids without an entity", "entities without an id", "features"),
            [
                (
                    name,
                    f"{table.rows:,}",
                    f"{table.accounting.read:,}",
                    f"{table.missing:,}",
                    f"{table.accounting.filtered['unmatched']:,}",
                    ", ".join(feature.name for feature in table.features),
                )
                for name, table in manifest.tables.items()
            ],
        ),
    ]


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
