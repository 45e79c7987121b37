"""Read every byte of a dataset and recompute what its manifest claims."""

import concurrent.futures
import os

import numpy as np

from penstock_dataprep.order.certificate import Moments, certify
from penstock_dataprep.statistics.sketch import merge_sketches, statistics
from penstock_dataprep.storage.files import dataset_folder, join
from penstock_dataprep.verify.counts import Tally
from penstock_dataprep.verify.drift import open_parent, verify_drift
from penstock_dataprep.verify.features import verify_sketches, verify_statistics
from penstock_dataprep.verify.files import expect, read_verified
from penstock_dataprep.verify.rejects import verify_rejects
from penstock_dataprep.verify.request import verify_request
from penstock_dataprep.verify.shard import Checked, verify_shard
from penstock_dataprep.verify.table import verify_table
from penstock_dataprep.verify.tails import verify_tails
from penstock_dataprep.verify.times import verify_times
from penstock_dataprep.verify.vocabulary import verify_vocabulary
from penstock_dataprep.versions.append import increments_of
from penstock_dataprep.versions.listing import oov_shares
from penstock_shared.digests import manifest_digest
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.manifest import Certificate, Manifest
from penstock_shared.splits import Split

CERTIFICATE_TOLERANCE = 1e-3  # in z: sums over floats may differ in their last digits


def verify(manifest: Manifest, path: str) -> int:
    """Check the claims of a manifest at `path`, and return how many claims were checked.

    What a dataset does not hold is taken on trust: how many rows were read and filtered beyond those written and
    rejected; what was in the source; in which split a row belongs, unless split by time; what was measured for a
    transform; which of a table's ids had no entity; which events of a key are kept (see verify_tails); and a
    vocabulary's `counted_values` and counts where not all the rows that were counted are there (see Tally).

    Raises DataRefused naming the first file, and the byte or field in it, that is not as claimed.
    """
    base = dataset_folder(path)
    tally = Tally(manifest)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        checks = [
            (name, pool.submit(verify_shard, manifest, base, shard, tally))
            for name, split in manifest.splits.items()
            for shard in split.shards
        ]
        tokens = {name: pool.submit(verify_vocabulary, manifest, base, name) for name in manifest.vocabularies}
        tables = [pool.submit(verify_table, manifest, base, name) for name in manifest.tables]
        rejects = pool.submit(verify_rejects, manifest.rejects, manifest.accounting, base, path)
        tails = pool.submit(verify_tails, manifest, base)
        claims = sum(check.result() for check in (*tables, rejects, tails))
        claims += sum(check.result()[0] for check in tokens.values())
        found = [(name, check.result()) for name, check in checks]
    claims += 3 * len(found)
    claims += tally.verify({name: check.result()[1] for name, check in tokens.items()})
    claims += _verify_rows_read(manifest, base, path)
    claims += verify_times(manifest, [checked for _, checked in found], path)
    for name, split in manifest.splits.items():
        own = [checked for owner, checked in found if owner == name]
        claims += _verify_block_index(base, split, [offset for checked in own for offset in checked.offsets])
        expect(f"{path}: splits.{name}", "oov_share", split.oov_share, oov_shares([held.sketches for held in own]))
        claims += len(split.oov_share)
        claims += verify_sketches(split, base, [checked.sketches for checked in own])
    claims += _verify_statistics(manifest.features, [checked for _, checked in found], path)
    for increment in increments_of(manifest):
        own = [checked for _, checked in found if checked.shard.version == increment.version]
        where = f"{path}: increment {increment.version}" if manifest.increments else path
        claims += _verify_statistics(increment.features, own, where) if manifest.increments else 0
        moments = {
            name: [checked.moments for checked in own if checked.shard.written_for == name] for name in increment.rules
        }
        claims += _verify_certificate(increment.certificate, moments, where)
    written = [checked.sketches for _, checked in found if checked.shard.version == manifest.version]
    claims += verify_drift(manifest, base, written)
    expect(path, "digest", manifest.digest, manifest_digest(manifest))
    return claims + 1 + verify_request(manifest, path)


def _verify_block_index(base: str, split: Split, offsets: list[int]) -> int:
    path = join(base, split.block_index.path)
    indexed = np.frombuffer(read_verified(base, split.block_index), "<u8")
    if indexed.tolist() != offsets:
        raise DataRefused(f"{path}: it does not list the byte offsets at which the shards' blocks start")
    return 3


def _verify_rows_read(manifest: Manifest, base: str, path: str) -> int:
    """Hold the rows that the version's own source had against the account, which goes on from its parent's."""
    parent = open_parent(manifest, base)
    if manifest.parent is not None and parent is None:
        return 0
    before = parent.accounting.read if parent is not None else 0
    expect(path, "source.rows", manifest.source.rows, manifest.accounting.read - before)
    return 1


def _verify_statistics(features: tuple[Feature, ...], found: list[Checked], path: str) -> int:
    return sum(
        verify_statistics(
            feature, statistics(feature, merge_sketches([checked.sketches[feature.name] for checked in found])), path
        )
        for feature in features
    )


def _verify_certificate(claimed: Certificate | None, moments: dict[str, list[dict[str, Moments]]], path: str) -> int:
    if claimed is None:
        return 0
    found = certify(moments)
    for split, scores in claimed.z.items():
        for statistic, z in scores.items():
            measured = found.z.get(split, {}).get(statistic)
            if measured is None or abs(measured - z) > CERTIFICATE_TOLERANCE * max(1.0, abs(z)):
                expect(f"{path}: shuffle.certificate.z.{split}", statistic, z, measured)
    expect(f"{path}: shuffle.certificate", "passes", claimed.passes, found.passes)
    return sum(len(scores) for scores in claimed.z.values()) + 1
