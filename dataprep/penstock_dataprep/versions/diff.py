"""Compare two versions: what was asked, what was stored, and how far the values drifted."""

from typing import Any

from penstock_dataprep.versions.text_table import text_table
from penstock_shared.manifest import Manifest
from penstock_shared.sketches import FeatureDrift


def differences(before: Manifest, after: Manifest) -> list[tuple[str, Any, Any]]:
    """Return (place, value before, value after) of every difference in what a trainer or an author cares about."""
    old, new = _claims(before), _claims(after)
    places = sorted(old.keys() | new.keys())
    return [(place, old.get(place), new.get(place)) for place in places if old.get(place) != new.get(place)]


def describe_diff(found: list[tuple[str, Any, Any]], drifted: dict[str, FeatureDrift]) -> str:
    """Return the differences and the drift as text."""
    rows = [(place, _show(old), _show(new)) for place, old, new in found]
    parts = [text_table(("what", "before", "after"), rows) if rows else "no differences"]
    if drifted:
        parts.append(text_table(*drift_table(drifted)))
    return "\n\n".join(parts)


def drift_table(drifted: dict[str, FeatureDrift]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return a header and the drift of each feature."""
    rows: list[tuple[str, ...]] = [
        (
            name,
            f"{held.null_share[0]:.4%} -> {held.null_share[1]:.4%}",
            "" if held.oov_share is None else f"{held.oov_share[0]:.4%} -> {held.oov_share[1]:.4%}",
            "" if held.stability_index is None else f"{held.stability_index:.4f}",
        )
        for name, held in drifted.items()
    ]
    return ("drift of", "null share", "oov share", "stability index"), rows


def _claims(manifest: Manifest) -> dict[str, Any]:
    document = manifest.model_dump(mode="json")
    kept = {key: document[key] for key in ("name", "spec", "layout", "accounting")}
    kept["features"] = {
        feature["name"]: {key: value for key, value in feature.items() if key not in ("name", "statistics")}
        for feature in document["features"]
    }
    kept["vocabularies"] = {
        name: {key: held[key] for key in ("size", "tokens", "coverage", "digest")}
        for name, held in document["vocabularies"].items()
    }
    kept["tables"] = {
        name: {key: held[key] for key in ("rows", "missing", "accounting")} for name, held in document["tables"].items()
    }
    kept["splits"] = {
        name: {"rows": held["rows"], "rule": held["rule"], "shards": len(held["shards"])}
        for name, held in document["splits"].items()
    }
    if document["tails"] is not None:
        kept["tails"] = {key: document["tails"][key] for key in ("kept", "keys", "events", "seen")}
    return dict(_flatten("", kept))


def _flatten(place: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [leaf for key, held in value.items() for leaf in _flatten(f"{place}.{key}" if place else key, held)]
    return [(place, value)]


def _show(value: Any) -> str:
    return (
        "" if value is None else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    )
