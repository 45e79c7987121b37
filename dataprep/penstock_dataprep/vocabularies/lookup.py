"""Look tokens up in a vocabulary: by their hashes in tables, and by themselves where several share a hash."""

import numpy as np
import pyarrow as pa

from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_dataprep.vocabularies.token_index import TokenIndex
from penstock_shared.tokens import first_token_id


def find_ids(numbering: Numbering, tokens: pa.Array, hashes: np.ndarray, scratch: Scratch) -> np.ndarray:
    """Return the int64 id of each token, ABSENT for those outside the vocabulary; `hashes` ascend."""
    ids = _token_index(numbering, scratch).find(hashes)
    for shared, token, token_id in numbering.sharing:
        for place in np.flatnonzero(hashes == np.uint64(shared)).tolist():
            if tokens[place].as_py() == token:
                ids[place] = token_id
    return ids


def write_index(numbering: Numbering, partition: int, scratch: Scratch) -> None:
    """Write the lookup table of one hash partition."""
    hashes, ids = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for file, first_rank, kept in numbering.ranks:
        batch = scratch.read_batch(file, partition)
        ranks = batch.column("rank").to_numpy()
        is_kept = ranks < kept
        if numbering.shared:
            is_kept &= ~np.isin(batch.column("hash").to_numpy(), np.array(numbering.shared, np.uint64))
        hashes.append(batch.column("hash").to_numpy()[is_kept])
        ids.append(ranks[is_kept].astype(np.int64) + first_rank + first_token_id(numbering.rules.oov_buckets))
    _token_index(numbering, scratch).write(partition, np.concatenate(hashes), np.concatenate(ids))


def _token_index(numbering: Numbering, scratch: Scratch) -> TokenIndex:
    return TokenIndex(scratch, f"index/{numbering.vocabulary}", numbering.index_bits)
