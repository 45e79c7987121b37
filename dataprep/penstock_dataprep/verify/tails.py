"""Check the events that a version keeps for the histories of rows appended to it."""

import numpy as np
import pyarrow as pa

from penstock_dataprep.histories.events import DROPPED, KEY, TIME, TOKEN_PREFIX, outside
from penstock_dataprep.histories.partitions import partition_of
from penstock_dataprep.histories.tails import decode_tails, oov_buckets
from penstock_dataprep.histories.windows import changes
from penstock_dataprep.order.hashing import hash_tokens
from penstock_dataprep.storage.files import join
from penstock_dataprep.verify.files import expect, read_verified
from penstock_dataprep.versions.append import LATE, TOO_OLD
from penstock_shared.errors import DataRefused
from penstock_shared.manifest import Manifest
from penstock_shared.tails import TailFile
from penstock_shared.tokens import FIRST_OOV_ID, NULL_ID


def verify_tails(manifest: Manifest, base: str) -> int:
    """Check the files of kept events, if there are any, and return how many claims that is. Raises DataRefused.

    As many events must have been seen as rows were ever written, or left out as too old or too late. Which of them are
    kept is taken on trust, but for the latest time.
    """
    tails, account = manifest.tails, manifest.accounting
    if tails is None:
        return 0
    found = [_verify_file(manifest, base, file) for file in tails.files]
    expect("tails", "seen", tails.seen, sum(seen for seen, _ in found))
    left_out = account.filtered.get(TOO_OLD, 0) + account.filtered.get(LATE, 0)
    expect("tails", "seen", tails.seen, account.written + left_out)
    time = manifest.feature("time")
    if time is not None and left_out == 0:
        expect("tails", "latest time", time.statistics.largest, max((latest for _, latest in found), default=None))
    return 4 * len(found) + 3


def _verify_file(manifest: Manifest, base: str, file: TailFile) -> tuple[int, int]:
    """Return (events seen of its keys, latest time) of a file that is as claimed."""
    tails, path = manifest.tails, join(base, file.path)
    assert tails is not None
    table = decode_tails(read_verified(base, file), path, tails, oov_buckets(manifest))
    keys, times, dropped = (table.column(name).to_numpy() for name in (KEY, TIME, DROPPED))
    expect(path, "events", file.events, len(keys))
    is_first = changes(keys)
    firsts = np.flatnonzero(is_first)
    expect(path, "keys", file.keys, len(firsts))
    if (keys[1:] < keys[:-1]).any() or (partition_of(keys, tails.partition_bits) != file.partition).any():
        raise DataRefused(f"{path}: its keys do not ascend within partition {file.partition}")
    if (times[1:] < times[:-1])[~is_first[1:]].any():
        raise DataRefused(f"{path}: the events of a key are not in the order of time")
    lengths = np.diff(np.append(firsts, len(keys)))
    if (longest := int(lengths.max(initial=0))) > tails.kept or dropped.min(initial=0) < 0:
        raise DataRefused(f"{path}: keeps {longest} events of a key, expected at most {tails.kept}, and those seen")
    _verify_ids(manifest, table, path)
    return int((dropped[firsts] + lengths).sum()), int(times.max())


def _verify_ids(manifest: Manifest, table: pa.RecordBatch, path: str) -> None:
    for feature in manifest.features:
        if feature.vocabulary is None or feature.name not in table.schema.names:
            continue
        held, ids = manifest.vocabularies[feature.vocabulary], table.column(feature.name).to_numpy()
        if ids.min(initial=NULL_ID) < NULL_ID or ids.max(initial=NULL_ID) >= held.size:
            raise DataRefused(f"{path}: {feature.name}: holds ids outside {NULL_ID} to {held.size - 1}")
        if TOKEN_PREFIX + feature.name in table.schema.names:
            hashes = hash_tokens(table.column(TOKEN_PREFIX + feature.name).drop_null())
            buckets = FIRST_OOV_ID + (hashes >> np.uint64(1)) % np.uint64(held.oov_buckets)
            if (buckets != ids[outside(ids, held.oov_buckets)]).any():
                raise DataRefused(f"{path}: {feature.name}: a token is not that of the id beside it")
