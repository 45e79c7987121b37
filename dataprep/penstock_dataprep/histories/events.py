"""Map a staged batch's rows to events with ids, and cut them by the hash of their key."""

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock_dataprep.histories.partitions import partition_of
from penstock_dataprep.order.split import Splitter
from penstock_dataprep.rows.mapping import Segment, code_ids, map_columns
from penstock_dataprep.rows.staged import PLACE, Staged, StagedRows, read_rows, read_tokens
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_shared.layout import Column
from penstock_shared.tokens import FIRST_OOV_ID, first_token_id
from penstock_shared.transforms import Transform

KEY, SPLIT, TIME = "\x00key", "\x00split", "\x00time"
# Of events that were kept: how many earlier ones of the key were not, and what a value outside the vocabulary is.
DROPPED, TOKEN_PREFIX = "\x00dropped", "\x00token."


@dataclass(frozen=True)
class EventPlan:
    """Say what an event carries: `targets` are its columns; `key` and `time` name those that put it in order.

    Beside the ids of `with_tokens` go the tokens that are outside the vocabulary.
    """

    targets: tuple[Target, ...]
    columns: tuple[Column, ...]
    transforms: dict[str, Transform]
    key: str
    time: str
    with_tokens: tuple[str, ...]
    partition_bits: int


def map_events(
    staged: Staged,
    targets: tuple[Target, ...],
    plan: EventPlan,
    splitter: Splitter,
    numberings: dict[str, Numbering],
    scratch: Scratch,
) -> list[tuple[int, Segment]]:
    """Write a staged batch's events by partition, and return (partition, segment) pairs.

    `targets` are all the batch's columns. Keys are told apart by their hash, not their id, which tokens outside the
    vocabulary share.
    """
    rows = read_rows(staged, targets, scratch)
    ids = code_ids(staged, plan.targets, numberings, scratch)
    columns = map_columns(rows, plan.targets, plan.columns, plan.transforms, ids)
    keys = read_tokens(staged, plan.key, scratch)[1][rows.columns[plan.key].numbers]
    events = {
        PLACE: pa.array(rows.place),
        KEY: pa.array(keys),
        SPLIT: pa.array(splitter.assign(staged, rows, scratch)),
        TIME: pa.array(rows.columns[plan.time].numbers),
        **columns,
        **{
            TOKEN_PREFIX + target.name: _tokens_outside(staged, rows, target, columns, numberings, scratch)
            for target in plan.targets
            if target.name in plan.with_tokens
        },
    }
    table = pa.RecordBatch.from_arrays(list(events.values()), names=list(events))
    partitions = partition_of(keys, plan.partition_bits)
    order = np.argsort(partitions, kind="stable")
    found, starts = np.unique(partitions[order], return_index=True)
    dealt, file = table.take(pa.array(order)), f"keyed/{staged.label}"
    edges = np.append(starts, len(order))
    pieces = [dealt.slice(start, stop - start) for start, stop in itertools.pairwise(edges.tolist())]
    scratch.write_batches(file, pieces)
    segments = [Segment(file, position, piece.num_rows) for position, piece in enumerate(pieces)]
    return list(zip(found.tolist(), segments, strict=True))


def outside(ids: np.ndarray, oov_buckets: int) -> np.ndarray:
    """Return which ids are of values outside the vocabulary."""
    return (ids >= FIRST_OOV_ID) & (ids < first_token_id(oov_buckets))


def _tokens_outside(
    staged: Staged,
    rows: StagedRows,
    target: Target,
    columns: dict[str, pa.Array],
    numberings: dict[str, Numbering],
    scratch: Scratch,
) -> pa.Array:
    """Return the token of each value outside the vocabulary, null for all others."""
    numbering = numberings[target.vocabulary or ""]
    is_outside = outside(columns[target.name].to_numpy(), numbering.rules.oov_buckets)
    codes = pa.array(rows.columns[target.name].numbers, mask=~is_outside)
    return read_tokens(staged, target.name, scratch)[0].take(codes)
