"""Measure how far the values of two datasets differ, from their sketches alone."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from penstock_dataprep.sketch import merge_sketches
from penstock_dataprep.storage import dataset_folder, join, read_bytes
from penstock_shared.errors import DataRefused
from penstock_shared.manifest import Manifest
from penstock_shared.sketches import FeatureSketch, HistogramSketch, SplitSketches
from penstock_shared.strict import parse_json

# A share nobody has is taken as this, so that one empty bucket does not make the index infinite.
SMALLEST_SHARE = 1e-4


@dataclass(frozen=True)
class Drift:
    """Compare one feature: shares in both datasets, and the population stability index of a number's histogram.

    Below 0.1 an index is commonly read as no shift, above 0.25 as a large one (Siddiqi, 2006, Credit Risk
    Scorecards); it is None for ids.
    """

    null_share: tuple[float, float]
    oov_share: tuple[float, float] | None
    stability_index: float | None

    def document(self) -> dict[str, object]:
        """Return the drift as JSON values."""
        return asdict(self)


def load_sketches(manifest: Manifest, path: str) -> dict[str, FeatureSketch]:
    """Return a dataset's sketch of each feature, all shards merged.

    Raises DataRefused for a statistics file that is missing or broken.
    """
    base = dataset_folder(path)
    found: dict[str, list[FeatureSketch]] = {feature.name: [] for feature in manifest.features}
    for split in manifest.splits.values():
        if split.statistics is None:
            continue
        where = join(base, split.statistics.path)
        try:
            content = read_bytes(where)
        except FileNotFoundError:
            raise DataRefused(f"{where}: missing; the manifest lists it") from None
        for shard in parse_json(SplitSketches, content, where, DataRefused).shards:
            for name, sketch in shard.items():
                found[name].append(sketch)
    return {name: merge_sketches(sketches) for name, sketches in found.items()}


def drift(before: FeatureSketch, after: FeatureSketch) -> Drift:
    """Return how far a feature moved from one dataset to the other."""
    oov = None
    if before.oov is not None and after.oov is not None:
        oov = (_share(before.oov, before.values), _share(after.oov, after.values))
    index = None
    if before.histogram is not None and after.histogram is not None and before.values and after.values:
        index = stability_index(before.histogram, after.histogram)
    nulls = (_share(before.nulls, before.nulls + before.values), _share(after.nulls, after.nulls + after.values))
    return Drift(null_share=nulls, oov_share=oov, stability_index=index)


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
