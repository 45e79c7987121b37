"""Check an entity table: its files, its rows, its ids and the statistics of its features."""

from penstock_dataprep.records.blocks import Values, decode_block
from penstock_dataprep.records.tfrecord import unframe
from penstock_dataprep.statistics.sketch import merge_sketches, sketch_feature, statistics
from penstock_dataprep.storage.files import join
from penstock_dataprep.verify.drift import verify_table_drift
from penstock_dataprep.verify.features import verify_ids, verify_sketches, verify_statistics
from penstock_dataprep.verify.files import expect, read_verified
from penstock_dataprep.verify.rejects import verify_rejects
from penstock_shared.manifest import Manifest
from penstock_shared.sketches import FeatureSketch
from penstock_shared.splits import Shard


def verify_table(manifest: Manifest, base: str, name: str) -> int:
    """Check all claims about a table, and return how many they are. Raises DataRefused."""
    table = manifest.tables[name]
    sketches = [_verify_shard(manifest, base, name, shard) for shard in table.shards]
    claims = 4 * len(table.shards) + verify_sketches(table, base, sketches)
    claims += verify_table_drift(manifest, base, name, sketches)
    for feature in table.features:
        found = statistics(feature, merge_sketches([sketch[feature.name] for sketch in sketches]))
        claims += verify_statistics(feature, found, f"table {name}")
    expect(f"table {name}", "source.rows", table.source.rows, table.accounting.read)
    return claims + 1 + verify_rejects(table.rejects, table.accounting, base, f"table {name}")


def _verify_shard(manifest: Manifest, base: str, name: str, shard: Shard) -> dict[str, FeatureSketch]:
    features, path = manifest.tables[name].features, join(base, shard.path)
    columns = tuple(feature.column for feature in features)
    pieces: list[list[Values]] = [[] for _ in features]
    blocks = found_rows = 0
    for offset, payload in unframe(read_verified(base, shard), path):
        rows, decoded = decode_block(columns, payload, f"{path}: the record at byte {offset}")
        for held, feature, values in zip(pieces, features, decoded, strict=True):
            if feature.vocabulary:
                verify_ids(feature, values, manifest.vocabularies[feature.vocabulary].size, path, offset)
            held.append(values)
        blocks, found_rows = blocks + 1, found_rows + rows
    expect(path, "rows", shard.rows, found_rows)
    expect(path, "blocks", shard.blocks, blocks)
    buckets = {name: vocabulary.oov_buckets for name, vocabulary in manifest.vocabularies.items()}
    return {
        feature.name: sketch_feature(
            feature, Values.concatenate(held), found_rows, buckets.get(feature.vocabulary or "")
        )
        for feature, held in zip(features, pieces, strict=True)
    }
