"""List the shards of a split with their blocks' byte offsets and their sketches, and write and read both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from penstock_dataprep.records.shard import WrittenShard
from penstock_dataprep.statistics.facts import share
from penstock_dataprep.statistics.sketch import merge_sketches, statistics
from penstock_dataprep.storage.files import join, write_bytes
from penstock_dataprep.verify.files import read_verified
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.files import File
from penstock_shared.manifest import Manifest, Table
from penstock_shared.sketches import FeatureSketch, ShardSketches
from penstock_shared.splits import Shard, Split
from penstock_shared.strict import parse_json

INDEX_NAME = "blocks.u64"
STATISTICS_NAME = "statistics.json"


@dataclass(frozen=True)
class Listed:
    """Hold one shard's manifest entry, the byte offset of each of its blocks, and its sketches by feature."""

    shard: Shard
    offsets: tuple[int, ...]
    sketches: dict[str, FeatureSketch]


@dataclass(frozen=True)
class Listing:
    """Hold the shards of one split in order, and the rule by which rows came to it."""

    rule: str
    members: tuple[Listed, ...]

    @classmethod
    def of(cls, rule: str, written: list[WrittenShard]) -> "Listing":
        """List the shards that a build wrote for one split."""
        ordered = sorted(written, key=lambda shard: shard.position)
        return cls(rule, tuple(Listed(shard.shard, shard.block_offsets, shard.sketches) for shard in ordered))

    @property
    def rows(self) -> int:
        """Return the rows of all shards."""
        return sum(listed.shard.rows for listed in self.members)

    @property
    def source_rows(self) -> int:
        """Return the source rows in all shards."""
        return sum(listed.shard.source_rows for listed in self.members)


def read_listings(manifest: Manifest, base: str) -> dict[str, Listing]:
    """Return the listing of each split of a version in dataset folder `base`.

    Raises DataRefused where a block index or a statistics file is not as the manifest says, or there is none.
    """
    found = {}
    for name, split in manifest.splits.items():
        offsets = np.frombuffer(read_verified(base, split.block_index), "<u8")
        edges = np.cumsum([shard.blocks for shard in split.shards])
        pieces = np.split(offsets, edges[:-1]) if len(edges) else []
        held = zip(split.shards, pieces, read_sketches(split, base), strict=True)
        found[name] = Listing(
            split.rule, tuple(Listed(shard, tuple(piece.tolist()), sketches) for shard, piece, sketches in held)
        )
    return found


def read_sketches(held: Split | Table, base: str) -> tuple[dict[str, FeatureSketch], ...]:
    """Return the sketches of each shard, by feature, of a split or a table.

    Raises DataRefused where there are none, or they are not as they should be.
    """
    if held.statistics is None:
        raise DataRefused(f"{base}: a split or table has no statistics to go on from; build the dataset anew")
    path = join(base, held.statistics.path)
    sketches = parse_json(ShardSketches, read_verified(base, held.statistics), path, DataRefused).shards
    if len(sketches) != len(held.shards):
        raise DataRefused(f"{path}: shards: found {len(sketches)}, the manifest lists {len(held.shards)}")
    return sketches


def write_sketches(sketches: Iterable[dict[str, FeatureSketch]], folder: str, base: str) -> File:
    """Write the sketches of each shard to the statistics file of a folder, and return the manifest's entry for it."""
    path = f"{folder}/{STATISTICS_NAME}"
    text = ShardSketches(shards=tuple(sketches)).model_dump_json()
    size, crc32c = write_bytes(join(base, path), [text.encode("utf-8")])
    return File(path=path, bytes=size, crc32c=crc32c)


def merged_sketches(listings: Iterable[Listing]) -> dict[str, FeatureSketch]:
    """Return the sketch of each feature over all rows of some listings."""
    return merge_shards([listed.sketches for listing in listings for listed in listing.members])


def merge_shards(shards: Sequence[dict[str, FeatureSketch]]) -> dict[str, FeatureSketch]:
    """Return the sketch of each feature over all rows of some shards, given those of each."""
    return {name: merge_sketches([sketches[name] for sketches in shards]) for name in (shards[0] if shards else ())}


def oov_shares(sketches: list[dict[str, FeatureSketch]]) -> dict[str, float]:
    """Return, by feature with a vocabulary, the share of the values in some shards that are outside of it."""
    merged = merge_shards(sketches).items()
    return {name: share(held.oov, held.values) for name, held in merged if held.oov is not None}


def measured(features: tuple[Feature, ...], listings: Iterable[Listing]) -> tuple[Feature, ...]:
    """Return the features with their statistics over all rows of some listings."""
    merged = merged_sketches(listings)
    return tuple(
        feature.model_copy(update={"statistics": statistics(feature, merged[feature.name])}) for feature in features
    )


def write_split(listing: Listing, name: str, base: str, version: str) -> Split:
    """Write the block index and the statistics of a split and return the manifest's entry for it."""
    offsets = np.array([offset for listed in listing.members for offset in listed.offsets], "<u8")
    path = f"{version}/{name}/{INDEX_NAME}"
    size, crc32c = write_bytes(join(base, path), [offsets.tobytes()])
    sketches = [listed.sketches for listed in listing.members]
    shards = tuple(listed.shard for listed in listing.members)
    return Split(
        rule=listing.rule,
        rows=listing.rows,
        blocks=len(offsets),
        bytes=sum(shard.bytes for shard in shards),
        shards=shards,
        block_index=File(path=path, bytes=size, crc32c=crc32c),
        oov_share=oov_shares(sketches),
        statistics=write_sketches(sketches, f"{version}/{name}", base),
    )
