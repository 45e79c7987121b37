"""Map a staged batch's tokens to ids."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.rows.staged import Staged, StagedColumn, StagedRows, read_tokens
from penstock_dataprep.rows.transform import transform_staged
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.lookup import find_ids
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_dataprep.vocabularies.token_index import ABSENT
from penstock_shared.layout import Column
from penstock_shared.tokens import FIRST_OOV_ID, NULL_ID
from penstock_shared.transforms import Transform

# In memory a number takes the next width that the machine has.
SEGMENT_DTYPES = {
    "u8": "u1",
    "u16": "u2",
    "u24": "u4",
    "u32": "u4",
    "i64": "i8",
    "f16": "f2",
    "bf16": "f4",
    "f32": "f4",
}


@dataclass(frozen=True)
class Segment:
    """Point at rows with ids that go to one shard: one batch of an Arrow IPC file."""

    file: str
    position: int
    rows: int


def code_ids(
    staged: Staged, targets: tuple[Target, ...], numberings: dict[str, Numbering], scratch: Scratch
) -> dict[str, np.ndarray]:
    """Return, by id column, the uint32 id of each code of a staged batch; code -1, null, picks the last."""
    return {
        target.name: _ids(staged, target, numberings[target.vocabulary], scratch)
        for target in targets
        if target.vocabulary is not None
    }


def map_columns(
    rows: StagedRows,
    targets: tuple[Target, ...],
    columns: tuple[Column, ...],
    transforms: dict[str, Transform],
    ids: dict[str, np.ndarray],
) -> dict[str, pa.Array]:
    """Return, by column, the ids and numbers of some rows as wide as they are stored; `ids` is from code_ids."""
    mapped = {}
    for target, column in zip(targets, columns, strict=True):
        held = rows.columns[target.name]
        if target.vocabulary is not None:
            numbers = ids[target.name][held.numbers]
        elif target.is_measured:
            numbers = transform_staged(held, transforms[target.name]).fill_null(0).to_numpy()
        else:
            numbers = held.numbers
        mapped[target.name] = _to_arrow(numbers, held, column)
    return mapped


def _ids(staged: Staged, target: Target, numbering: Numbering, scratch: Scratch) -> np.ndarray:
    tokens, hashes = read_tokens(staged, target.name, scratch)
    ids = find_ids(numbering, tokens, hashes, scratch)
    is_oov = ids == ABSENT
    buckets = (hashes[is_oov] >> np.uint64(1)).astype(np.int64) % numbering.rules.oov_buckets
    ids[is_oov] = FIRST_OOV_ID + buckets
    return np.append(ids, NULL_ID).astype(np.uint32)


def _to_arrow(numbers: np.ndarray, held: StagedColumn, column: Column) -> pa.Array:
    stored = numbers.astype(SEGMENT_DTYPES[column.storage], copy=False)
    if held.lengths is not None:
        offsets = np.append(0, np.cumsum(held.lengths)).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(stored))
    if stored.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), stored.shape[1])
    return pa.array(stored, mask=None if held.present is None else ~held.present)
