"""Define the statistics kept per shard: small enough to read at once, and mergeable without reading rows again.

The statistics file of a split or of an entity table is one JSON object: `shards`, a list in the order of the manifest's
shards, each a mapping from feature name to its sketch.
"""

from typing import Annotated

from pydantic import Field

from penstock_shared.strict import Strict

Count = Annotated[int, Field(ge=0)]


class HistogramSketch(Strict):
    """Count values in buckets 2^shift wide: bucket b holds the integers v with v >> shift = b, ascending.

    Floats are counted by their place among all float32 numbers: their bits read as an integer, negative numbers
    counted down from -1.
    """

    shift: Count
    buckets: tuple[int, ...]
    counts: tuple[Count, ...]


class FeatureSketch(Strict):
    """Hold what is known of one feature in one shard, or in several merged ones.

    `rows` counts rows, `nulls` missing values, `values` the others and `oov` those outside the vocabulary; `smallest`,
    `largest` and `total` are of numbers, `longest` is of lists. `distinct` is the registers of a HyperLogLog of 2^12
    registers over mix64 of the int64 values, or for floats of their places, zlib-compressed in base64. `top` lists
    (value, count) of the most frequent values; in merged sketches the counts are lower bounds. `histogram` is of
    numbers, not of ids.
    """

    rows: Count
    nulls: Count
    values: Count
    smallest: int | float | None = None
    largest: int | float | None = None
    total: int | float = 0
    oov: Count | None = None
    longest: Count | None = None
    distinct: str
    top: tuple[tuple[int | float, Count], ...] = ()
    histogram: HistogramSketch | None = None


class FeatureDrift(Strict):
    """Compare a feature's values before and after: (share before, share after) of nulls and of values that are OOV.

    `stability_index` is the population stability index over the deciles before, None for ids. Below 0.1 it is
    commonly read as no shift, above 0.25 as a large one (Siddiqi, 2006, Credit Risk Scorecards).
    """

    null_share: tuple[float, float]
    oov_share: tuple[float, float] | None = None
    stability_index: float | None = None


class ShardSketches(Strict):
    """Hold the sketches of every shard of a split or a table, in the order of the manifest's shards."""

    shards: tuple[dict[str, FeatureSketch], ...]
