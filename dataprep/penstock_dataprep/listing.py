"""List the shards of a split with their blocks' byte offsets and their sketches, and write and read both."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from penstock_dataprep.facts import share
from penstock_dataprep.shard import WrittenShard
from penstock_dataprep.sketch import merge_sketches, statistics
from penstock_dataprep.storage import join, read_bytes, write_bytes
from penstock_dataprep.verify_files import verify_file
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.files import File
from penstock_shared.manifest import Manifest
from penstock_shared.sketches import FeatureSketch, SplitSketches
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
        verify_file(base, split.block_index)
        offsets = np.frombuffer(read_bytes(join(base, split.block_index.path)), "<u8")
        edges = np.cumsum([shard.blocks for shard in split.shards])
        pieces = np.split(offsets, edges[:-1]) if len(edges) else []
        held = zip(split.shards, pieces, read_sketches(split, base).shards, strict=True)
        found[name] = Listing(
            split.rule, tuple(Listed(shard, tuple(piece.tolist()), sketches) for shard, piece, sketches in held)
        )
    return found


def read_sketches(split: Split, base: str) -> SplitSketches:
    """Return the sketches of a split. Raises DataRefused where there are none, or they are not as they should be."""
    if split.statistics is None:
        raise DataRefused(f"{base}: a split has no statistics to go on from; build the dataset anew")
    verify_file(base, split.statistics)
    path = join(base, split.statistics.path)
    sketches = parse_json(SplitSketches, read_bytes(path), path, DataRefused)
    if len(sketches.shards) != len(split.shards):
        raise DataRefused(f"{path}: shards: found {len(sketches.shards)}, the manifest lists {len(split.shards)}")
    return sketches


def merged_sketches(listings: Iterable[Listing]) -> dict[str, FeatureSketch]:
    """Return the sketch of each feature over all rows of some listings."""
    held = [listed.sketches for listing in listings for listed in listing.members]
    names = held[0] if held else {}
    return {name: merge_sketches([sketches[name] for sketches in held]) for name in names}


def oov_shares(sketches: list[dict[str, FeatureSketch]]) -> dict[str, float]:
    """Return, by feature with a vocabulary, the share of the values in some shards that are outside of it."""
    merged = {name: merge_sketches([held[name] for held in sketches]) for name in (sketches[0] if sketches else ())}
    return {name: share(held.oov, held.values) for name, held in merged.items() if held.oov is not None}


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
    sketches = SplitSketches(shards=tuple(listed.sketches for listed in listing.members))
    statistics_path = f"{version}/{name}/{STATISTICS_NAME}"
    held = write_bytes(join(base, statistics_path), [sketches.model_dump_json().encode("utf-8")])
    shards = tuple(listed.shard for listed in listing.members)
    return Split(
        rule=listing.rule,
        rows=listing.rows,
        blocks=len(offsets),
        bytes=sum(shard.bytes for shard in shards),
        shards=shards,
        block_index=File(path=path, bytes=size, crc32c=crc32c),
        oov_share=oov_shares([listed.sketches for listed in listing.members]),
        statistics=File(path=statistics_path, bytes=held[0], crc32c=held[1]),
    )
