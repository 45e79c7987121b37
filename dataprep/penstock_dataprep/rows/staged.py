"""Stage valid rows in the scratch folder, in the order of their places: tokens as codes into a small dictionary.

A staged batch is one Arrow IPC file of rows and one per id column of its distinct tokens. What crosses a stage edge
of the runner is its path: the batch itself is memory-mapped by whoever needs it, so memory stays bounded and a
runner never copies rows.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.order.hashing import fold_lists, fold_words, mix64
from penstock_dataprep.order.sorting import sort_words
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.coding import NULL_WORD, code_tokens

PLACE = "\x00place"


@dataclass(frozen=True)
class Staged:
    """Point at one staged batch; `tokens` is the number of distinct tokens by vocabulary."""

    label: str
    rows: int
    tokens: Counter[str]


@dataclass(frozen=True)
class StagedRows:
    """Hold a staged batch as numpy arrays.

    `place` is the uint64 keyed hash of each row's content, in ascending order: where it goes in the global order.
    `columns` holds, per feature, int32 codes (see coding.py) or numbers; a list column has `lengths`, a column with
    nulls `present`; vectors are [rows, length].
    """

    place: np.ndarray
    columns: dict[str, "StagedColumn"]


@dataclass(frozen=True)
class StagedColumn:
    """Hold one column: its codes or numbers, row lengths of a list, presence of nullable numbers."""

    numbers: np.ndarray
    lengths: np.ndarray | None = None
    present: np.ndarray | None = None


def stage(valid: pa.RecordBatch, targets: tuple[Target, ...], seed: int, label: str, scratch: Scratch) -> Staged:
    """Write a validated batch to the scratch folder under `label`."""
    state = np.full(valid.num_rows, seed, np.uint64)
    mix64(state)
    arrays, names = [], []
    tokens: Counter[str] = Counter()
    for target in targets:
        column = valid.column(target.name)
        if target.vocabulary is not None:
            column, words, distinct = _encode_tokens(column, target, label, scratch)
            tokens[target.vocabulary] += distinct
        else:
            words = _number_words(column)
            column = _narrow(column)
        _fold(state, column, words, target)
        arrays.append(column)
        names.append(target.name)
    # In this order, what goes to a shard is a slice of the batch.
    order, places = sort_words(state)
    rows = pa.RecordBatch.from_arrays(arrays, names=names).take(pa.array(order))
    batch = pa.RecordBatch.from_arrays([pa.array(places), *rows.columns], names=[PLACE, *names])
    scratch.write_batches(rows_file(label), [batch])
    return Staged(label, valid.num_rows, tokens)


def rows_file(label: str) -> str:
    """Return the name of the scratch file of a staged batch's rows."""
    return f"staged/{label}.rows"


def read_rows(staged: Staged, targets: tuple[Target, ...], scratch: Scratch) -> StagedRows:
    """Return a staged batch's rows, memory-mapped where they hold no nulls and are no narrow integers."""
    return to_rows(scratch.read_batch(rows_file(staged.label)), targets)


def to_rows(batch: pa.RecordBatch, targets: tuple[Target, ...]) -> StagedRows:
    """Return some of a staged batch's rows as numpy arrays."""
    columns = {target.name: _to_column(batch.column(target.name), target) for target in targets}
    return StagedRows(batch.column(PLACE).to_numpy(), columns)


def read_tokens(staged: Staged, name: str, scratch: Scratch) -> tuple[pa.Array, np.ndarray]:
    """Return (distinct tokens, their ascending uint64 hashes) of an id column of a staged batch.

    A code is a position here.
    """
    batch = scratch.read_batch(tokens_file(staged, name))
    return batch.column("token"), batch.column("hash").to_numpy()


def tokens_file(staged: Staged, name: str) -> str:
    """Return the name of the scratch file of the (token, hash, check) of a column's distinct tokens."""
    return f"staged/{staged.label}.{name}.tokens"


def _encode_tokens(column: pa.Array, target: Target, label: str, scratch: Scratch) -> tuple[pa.Array, np.ndarray, int]:
    """Return (codes, words to hash, number of distinct tokens) of an id column, and write its distinct tokens."""
    coded = code_tokens(column.flatten() if target.is_list else column)
    distinct = pa.RecordBatch.from_arrays(
        [coded.tokens, pa.array(coded.hashes), pa.array(coded.checks)], names=["token", "hash", "check"]
    )
    scratch.write_batches(f"staged/{label}.{target.name}.tokens", [distinct])
    codes = pa.array(coded.codes)
    if target.is_list:
        codes = pa.ListArray.from_arrays(column.offsets, codes)
    return codes, coded.words, len(coded.tokens)


def _number_words(column: pa.Array) -> np.ndarray:
    is_scalar = not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type))
    values = column if is_scalar else column.flatten()
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
    bits = numbers.view(np.uint32) if numbers.dtype == np.float32 else numbers.view(np.uint64)
    words = bits.astype(np.uint64)
    if values.null_count:
        words[values.is_null().to_numpy(zero_copy_only=False)] = NULL_WORD
    return words


def _narrow(column: pa.Array) -> pa.Array:
    """Return int64 numbers as int32 where all of them fit, as seconds do: bytes written are half a build's time."""
    if not pa.types.is_int64(column.type):
        return column
    extremes = pc.min_max(column)
    smallest, largest = extremes["min"].as_py(), extremes["max"].as_py()
    fits = smallest is not None and smallest >= -(2**31) and largest < 2**31
    return column.cast(pa.int32()) if fits else column


def _fold(state: np.ndarray, column: pa.Array, words: np.ndarray, target: Target) -> None:
    if target.is_list:
        fold_lists(state, words, np.diff(column.offsets.to_numpy()))
    elif target.length is not None:
        for place in range(target.length):
            fold_words(state, words[place :: target.length])
    else:
        fold_words(state, words)


def _to_column(array: pa.Array, target: Target) -> StagedColumn:
    if target.is_list:
        return StagedColumn(array.flatten().to_numpy(), np.diff(array.offsets.to_numpy()))
    if target.length is not None:
        return StagedColumn(array.flatten().to_numpy().reshape(-1, target.length))
    if pa.types.is_int32(array.type) and target.vocabulary is None:
        array = array.cast(pa.int64())
    if array.null_count:
        return StagedColumn(array.fill_null(0).to_numpy(), present=array.is_valid().to_numpy(zero_copy_only=False))
    return StagedColumn(array.to_numpy())
