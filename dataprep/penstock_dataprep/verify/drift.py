"""Measure the drift against the parent again, where the parent is still there."""

from penstock_dataprep.statistics.drift import drifts
from penstock_dataprep.storage.files import exists, join, read_bytes
from penstock_dataprep.verify.files import expect
from penstock_dataprep.versions.listing import merge_shards, merged_sketches, read_listings, read_sketches
from penstock_shared.files import File
from penstock_shared.manifest import MANIFEST_NAME, Manifest, load_manifest
from penstock_shared.sketches import FeatureDrift, FeatureSketch


def verify_drift(manifest: Manifest, base: str, own: list[dict[str, FeatureSketch]]) -> int:
    """Check the drift of each feature; `own` are the sketches of the shards that the version's build wrote.

    Return how many claims that is: none where the parent was deleted. Raises DataRefused.
    """
    parent = open_parent(manifest, base)
    if parent is None:
        return 0
    splits = parent.splits.values()
    if not _is_there(base, [file for held in splits for file in (held.statistics, held.block_index)]):
        return 0
    before = merged_sketches(read_listings(parent, base).values())
    return _verify(f"drift against version {parent.version}", manifest.drift, before, merge_shards(own))


def verify_table_drift(manifest: Manifest, base: str, name: str, own: list[dict[str, FeatureSketch]]) -> int:
    """Check the drift of each feature of a table in the same way."""
    parent = open_parent(manifest, base)
    older = parent.tables.get(name) if parent is not None else None
    if parent is None or older is None or not _is_there(base, [older.statistics]):
        return 0
    where = f"table {name}: drift against version {parent.version}"
    return _verify(where, manifest.tables[name].drift, merge_shards(read_sketches(older, base)), merge_shards(own))


def _verify(
    where: str,
    claimed: dict[str, FeatureDrift],
    before: dict[str, FeatureSketch],
    after: dict[str, FeatureSketch],
) -> int:
    found = drifts(before, after)
    for name in sorted({*claimed, *found}):
        expect(where, name, claimed.get(name), found.get(name))
    return len(found)


def open_parent(manifest: Manifest, base: str) -> Manifest | None:
    """Return the manifest of the version that this one was appended to, None where it has none or it was deleted."""
    path = join(base, manifest.parent.version, MANIFEST_NAME) if manifest.parent else ""
    return load_manifest(read_bytes(path), path) if path and exists(path) else None


def _is_there(base: str, files: list[File | None]) -> bool:
    return all(file is not None and exists(join(base, file.path)) for file in files)
