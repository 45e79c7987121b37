"""Measure the drift against the parent again, where the parent is still there."""

from penstock_dataprep.drift import drifts
from penstock_dataprep.listing import merged_sketches, read_listings
from penstock_dataprep.sketch import merge_sketches
from penstock_dataprep.storage import exists, join, read_bytes
from penstock_dataprep.verify_files import expect
from penstock_shared.manifest import MANIFEST_NAME, Manifest, load_manifest
from penstock_shared.sketches import FeatureSketch


def verify_drift(manifest: Manifest, base: str, own: list[dict[str, FeatureSketch]]) -> int:
    """Check the drift of each feature; `own` are the sketches of the shards that the version's build wrote.

    Return how many claims that is: none where the parent was deleted. Raises DataRefused.
    """
    parent = open_parent(manifest, base)
    if parent is None or not all(_has_statistics(base, parent, name) for name in parent.splits):
        return 0
    after = {name: merge_sketches([sketches[name] for sketches in own]) for name in (own[0] if own else ())}
    found = drifts(merged_sketches(read_listings(parent, base).values()), after)
    for name in sorted({*manifest.drift, *found}):
        expect(f"drift against version {parent.version}", name, manifest.drift.get(name), found.get(name))
    return len(found)


def open_parent(manifest: Manifest, base: str) -> Manifest | None:
    """Return the manifest of the version that this one was appended to, None where it has none or it was deleted."""
    path = join(base, manifest.parent.version, MANIFEST_NAME) if manifest.parent else ""
    return load_manifest(read_bytes(path), path) if path and exists(path) else None


def _has_statistics(base: str, parent: Manifest, split: str) -> bool:
    held = parent.splits[split]
    return all(file is not None and exists(join(base, file.path)) for file in (held.statistics, held.block_index))
