"""Measure how far the values of two datasets differ, from their sketches alone."""

import math

import numpy as np

from penstock_dataprep.storage.files import dataset_folder
from penstock_dataprep.versions.listing import merge_shards, merged_sketches, read_listings, read_sketches
from penstock_shared.manifest import Manifest
from penstock_shared.sketches import FeatureDrift, FeatureSketch, HistogramSketch

# A share nobody has is taken as this, so that one empty bucket does not make the index infinite.
SMALLEST_SHARE = 1e-4


def load_sketches(manifest: Manifest, path: str) -> dict[str, FeatureSketch]:
    """Return a dataset's sketch of each feature, all shards merged; those of tables are named `table.feature`.

    Raises DataRefused for a statistics file that is missing or broken.
    """
    base = dataset_folder(path)
    found = merged_sketches(read_listings(manifest, base).values())
    for name, table in manifest.tables.items():
        if table.statistics is None:
            continue
        found |= {f"{name}.{feature}": sketch for feature, sketch in merge_shards(read_sketches(table, base)).items()}
    return found


def drifts(before: dict[str, FeatureSketch], after: dict[str, FeatureSketch]) -> dict[str, FeatureDrift]:
    """Return the drift of every feature that has rows on both sides."""
    both = (name for name in before if name in after and before[name].rows and after[name].rows)
    return {name: drift(before[name], after[name]) for name in both}


def drift(before: FeatureSketch, after: FeatureSketch) -> FeatureDrift:
    """Return how far a feature moved from one dataset to the other."""
    oov = None
    if before.oov is not None and after.oov is not None:
        oov = (_share(before.oov, before.values), _share(after.oov, after.values))
    index = None
    if before.histogram is not None and after.histogram is not None and before.values and after.values:
        index = stability_index(before.histogram, after.histogram)
    nulls = (_share(before.nulls, before.nulls + before.values), _share(after.nulls, after.nulls + after.values))
    return FeatureDrift(null_share=nulls, oov_share=oov, stability_index=index)


def stability_index(before: HistogramSketch, after: HistogramSketch) -> float:
    """Return the sum of (q - p) ln (q / p) over the deciles of `before`, p and q being the shares in them."""
    shift = max(before.shift, after.shift)
    counts: list[dict[int, int]] = []
    for held in (before, after):
        merged: dict[int, int] = {}
        for bucket, count in zip(held.buckets, held.counts, strict=True):
            place = bucket >> (shift - held.shift)
            merged[place] = merged.get(place, 0) + count
        counts.append(merged)
    places = np.array(sorted(counts[0].keys() | counts[1].keys()))
    p, q = (np.array([held.get(int(place), 0) for place in places], float) for held in counts)
    # The decile that a bucket's middle row falls in; a bucket is never cut.
    reached = (np.cumsum(p) - p / 2) / p.sum()
    decile = np.minimum((reached * 10).astype(int), 9)
    shares = [np.maximum(np.bincount(decile, held, 10) / held.sum(), SMALLEST_SHARE) for held in (p, q)]
    return round(float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum()), 6)


def _share(part: int, whole: int) -> float:
    return math.floor(part / whole * 1e9 + 0.5) / 1e9 if whole else 0.0
