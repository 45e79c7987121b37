"""Write the events that a version keeps as blocks of keys, and read those of an older one.

As a table, kept events have the columns KEY, TIME and DROPPED, those of histories, and the tokens outside of
vocabularies by TOKEN_PREFIX; they are in the order of key and time.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from penstock_dataprep.histories.events import DROPPED, KEY, TIME, TOKEN_PREFIX, outside
from penstock_dataprep.histories.windows import changes
from penstock_dataprep.order.hashing import string_buffers
from penstock_dataprep.records.blocks import Values, decode_block, encode_block
from penstock_dataprep.records.tfrecord import frame, unframe
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.coding import code_tokens
from penstock_dataprep.vocabularies.known import to_array
from penstock_dataprep.vocabularies.lookup import find_ids
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_dataprep.vocabularies.token_index import ABSENT
from penstock_shared.errors import DataRefused
from penstock_shared.layout import Column
from penstock_shared.manifest import Manifest
from penstock_shared.tails import TailColumn, Tails

KEYS_PER_BLOCK = 1 << 12


def tail_column(values: Column, token_dtype: str | None) -> TailColumn:
    """Return how a list column is kept; `token_dtype` is None where no token of it can become known."""
    if token_dtype is None:
        return TailColumn(values=values)
    name, lengths = values.name, values.lengths
    if token_dtype == "int64":
        return TailColumn(values=values, tokens=Column(name=f"{name}.tokens", storage="i64", lengths=lengths))
    return TailColumn(
        values=values,
        tokens=Column(name=f"{name}.tokens", storage="u8", lengths="u32"),
        token_bytes=Column(name=f"{name}.token_bytes", storage="u32", lengths=lengths),
    )


def encode_tails(table: pa.RecordBatch, tails: Tails) -> Iterator[bytes]:
    """Yield the records of a table of kept events; there is at least one event."""
    keys = table.column(KEY).to_numpy()
    firsts = np.flatnonzero(changes(keys))
    lengths = np.diff(np.append(firsts, len(keys)))
    seen = table.column(DROPPED).to_numpy()[firsts] + lengths
    values = [Values(keys[firsts].view(np.int64)), Values(seen), Values(table.column(TIME).to_numpy(), lengths)]
    for held in tails.columns:
        values.append(Values(table.column(held.values.name).to_numpy(), lengths))
        if held.tokens is not None:
            values += _token_values(table.column(TOKEN_PREFIX + held.values.name), firsts, held)
    for start in range(0, len(firsts), KEYS_PER_BLOCK):
        stop = min(len(firsts), start + KEYS_PER_BLOCK)
        yield frame(encode_block(tails.block_columns, [part.slice(start, stop) for part in values], stop - start))


def _token_values(tokens: pa.Array, firsts: np.ndarray, column: TailColumn) -> list[Values]:
    present = tokens.is_valid().to_numpy(zero_copy_only=False)
    counts, held = np.add.reduceat(present.astype(np.int64), firsts), tokens.drop_null()
    if column.token_bytes is None:
        return [Values(held.to_numpy(), counts)]
    offsets, content = string_buffers(held)
    sizes = np.zeros(len(tokens), np.int64)
    sizes[present] = np.diff(offsets)
    return [Values(content, np.add.reduceat(sizes, firsts)), Values(sizes[present], counts)]


def decode_tails(content: bytes, path: str, tails: Tails, buckets: dict[str, int]) -> pa.RecordBatch:
    """Return the table of a file of kept events; `buckets` are the ids outside the vocabulary by column.

    Raises DataRefused where a key's lists do not go together.
    """
    pieces: list[list[Values]] = [[] for _ in tails.block_columns]
    for offset, payload in unframe(content, path):
        _, block = decode_block(tails.block_columns, payload, f"{path}: the record at byte {offset}")
        for piece, part in zip(pieces, block, strict=True):
            piece.append(part)
    parts = iter([Values.concatenate(piece) for piece in pieces])
    keys, seen, times = next(parts), next(parts), next(parts)
    lengths = _lengths(times)
    arrays = {
        KEY: pa.array(np.repeat(keys.numbers.view(np.uint64), lengths)),
        TIME: pa.array(times.numbers.astype(np.int64)),
        DROPPED: pa.array(np.repeat(seen.numbers.astype(np.int64) - lengths, lengths)),
    }
    for held in tails.columns:
        name, values = held.values.name, next(parts)
        if not np.array_equal(_lengths(values), lengths):
            raise DataRefused(f"{path}: a key has not as many values of {name} as events")
        arrays[name] = pa.array(values.numbers)
        if held.tokens is not None:
            tokens = _tokens(next(parts), next(parts) if held.token_bytes is not None else None, f"{path}: {name}")
            is_outside = outside(values.numbers, buckets[name])
            if np.count_nonzero(is_outside) != len(tokens):
                raise DataRefused(f"{path}: holds {len(tokens)} tokens of {name} for its values outside the vocabulary")
            arrays[TOKEN_PREFIX + name] = tokens.take(pa.array(np.cumsum(is_outside) - 1, mask=~is_outside))
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def oov_buckets(manifest: Manifest) -> dict[str, int]:
    """Return the number of ids outside the vocabulary by feature that has one."""
    found = ((feature.name, feature.vocabulary) for feature in manifest.features)
    return {name: manifest.vocabularies[held].oov_buckets for name, held in found if held is not None}


def _tokens(tokens: Values, sizes: Values | None, where: str) -> pa.Array:
    if sizes is None:
        return to_array(Values(tokens.numbers))
    if sizes.numbers.sum(dtype=np.int64) != len(tokens.numbers):
        raise DataRefused(f"{where}: its tokens do not add up to their bytes")
    return to_array(Values(tokens.numbers, sizes.numbers))


def _lengths(values: Values) -> np.ndarray:
    assert values.lengths is not None
    return values.lengths.astype(np.int64)


def renew(table: pa.RecordBatch, numberings: dict[str, Numbering], scratch: Scratch) -> pa.RecordBatch:
    """Return kept events with the ids that tokens have by now; `numberings` are by column with tokens."""
    for name, numbering in numberings.items():
        place = table.schema.get_field_index(TOKEN_PREFIX + name)
        tokens, ids = table.column(place), table.column(name).to_numpy().astype(np.uint32)
        present = np.array(tokens.is_valid())
        if present.any():
            coded = code_tokens(tokens.drop_null())
            found = find_ids(numbering, coded.tokens, coded.hashes, scratch)[coded.codes]
            known = np.flatnonzero(present)[found != ABSENT]
            ids[known] = found[found != ABSENT]
            present[known] = False
            tokens = tokens.take(pa.array(np.arange(len(tokens)), mask=~present))
        # As wide in every file, whether a token of it became known or not.
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(ids))
        table = table.set_column(place, TOKEN_PREFIX + name, tokens)
    return table
