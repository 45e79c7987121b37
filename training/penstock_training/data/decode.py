"""Decode block payloads and serialised examples into columns with stock TensorFlow ops (see penstock_shared.layout).

Mirrors penstock_dataprep.records.blocks; golden bytes hold the two together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from penstock_shared.features import Feature
from penstock_shared.layout import BLOCK_HEADER_BYTES, WIDTH_BYTES, Column

PLAIN_DTYPES = {"u8": tf.uint8, "u16": tf.uint16, "i64": tf.int64, "f16": tf.float16, "f32": tf.float32}
DECODED_DTYPES = {**PLAIN_DTYPES, "u24": tf.int32, "u32": tf.uint32, "bf16": tf.bfloat16}
# A dense list never has zero columns, since many kernels do not take an empty tensor.
SHORTEST_STATIC_LENGTH = 1


@dataclass(frozen=True)
class Values:
    """Hold one column's numbers for some rows, as wide as they are stored.

    `numbers` is one per row, [rows, values_per_row] for vectors, or for a list column all lists' values end to end with
    int32 `lengths` per row.
    `present` is a bool per row for a nullable column.
    `triples` is uint8 [rows, 3], the bytes of the numbers of a u24 column, for those who move rows before they count.
    """

    numbers: tf.Tensor
    lengths: tf.Tensor | None = None
    present: tf.Tensor | None = None
    triples: tf.Tensor | None = None


def decode_block(payload: tf.Tensor, columns: tuple[Column, ...], rows: tf.Tensor, where: tf.Tensor) -> list[Values]:
    """Return the columns of one block, from its payload, a scalar string.

    `rows` is the int32 number of rows the block index promises and `where` names the block in messages. A payload of
    another length, or with another number of rows, raises InvalidArgumentError.
    """
    held_rows = tf.io.decode_raw(tf.strings.substr(payload, 0, BLOCK_HEADER_BYTES), tf.int32)[0]
    agrees = tf.debugging.Assert(held_rows == rows, ["rows held, rows the index promises:", held_rows, rows, where])
    with tf.control_dependencies([agrees]):
        position = tf.constant(BLOCK_HEADER_BYTES)
    decoded = []
    for column in columns:
        present = lengths = None
        if column.nullable:
            bitmap_bytes = (rows + 7) // 8
            present = _unpack_bits(tf.strings.substr(payload, position, bitmap_bytes))[:rows]
            position += bitmap_bytes
        count = rows * column.values_per_row
        if column.lengths is not None:
            length_bytes = rows * WIDTH_BYTES[column.lengths]
            lengths = tf.cast(
                decode_numbers(tf.strings.substr(payload, position, length_bytes), column.lengths), tf.int32
            )
            position += length_bytes
            count = tf.reduce_sum(lengths)
        value_bytes = count * WIDTH_BYTES[column.storage]
        piece = tf.strings.substr(payload, position, value_bytes)
        triples = decode_triples(piece) if column.storage == "u24" else None
        numbers = decode_numbers(piece, column.storage) if triples is None else number_of(triples)
        if column.values_per_row > 1:
            # Whole rows only: a payload cut short is told below, by its length.
            whole_rows = tf.size(numbers) // column.values_per_row * column.values_per_row
            numbers = tf.reshape(numbers[:whole_rows], [-1, column.values_per_row])
        decoded.append(Values(numbers, lengths, present, triples))
        position += value_bytes
    held_bytes = tf.strings.length(payload)
    whole = tf.debugging.Assert(
        held_bytes == position, ["bytes held, bytes the rows need:", held_bytes, position, where]
    )
    with tf.control_dependencies([whole]):
        return [
            Values(
                tf.identity(values.numbers),
                values.lengths,
                values.present,
                None if values.triples is None else tf.identity(values.triples),
            )
            for values in decoded
        ]


def decode_numbers(piece: tf.Tensor, storage: str) -> tf.Tensor:
    """Return the numbers of a scalar string of little-endian `storage` numbers; u24 as int32, u32 as uint32."""
    if storage == "u24":
        return number_of(decode_triples(piece))
    if storage == "u32":
        return tf.bitcast(tf.io.decode_raw(piece, tf.int32), tf.uint32)
    if storage == "bf16":
        return tf.bitcast(tf.io.decode_raw(piece, tf.uint16), tf.bfloat16)
    return tf.io.decode_raw(piece, PLAIN_DTYPES[storage])


def decode_triples(piece: tf.Tensor) -> tf.Tensor:
    """Return the bytes of a scalar string of u24 numbers, uint8 [numbers, 3]."""
    return tf.reshape(tf.io.decode_raw(piece, tf.uint8), [-1, 3])


def number_of(triples: tf.Tensor) -> tf.Tensor:
    """Return the int32 numbers whose bytes are uint8 [numbers, 3]."""
    wide = tf.cast(triples, tf.int32)
    return wide[:, 0] + wide[:, 1] * (1 << 8) + wide[:, 2] * (1 << 16)


def decode_blocks(records: tf.Tensor, features: tuple[Feature, ...], rows: tf.Tensor, where: tf.Tensor) -> list[Values]:
    """Return the columns of a run of rows in the `blocks` layout: `records` is a string [1]."""
    return decode_block(records[0], tuple(feature.column for feature in features), rows, where)


def decode_examples(
    records: tf.Tensor, features: tuple[Feature, ...], rows: tf.Tensor, where: tf.Tensor
) -> list[Values]:
    """Return the columns of a run of rows in the `examples` layout: `records` is a string [rows]."""
    held_rows = tf.size(records)
    agrees = tf.debugging.Assert(held_rows == rows, ["rows held, rows the index promises:", held_rows, rows, where])
    with tf.control_dependencies([agrees]):
        parsed = tf.io.parse_example(records, {feature.name: _example_field(feature) for feature in features})
    return [_example_values(feature, parsed[feature.name]) for feature in features]


Decoder = Callable[[tf.Tensor, tuple[Feature, ...], tf.Tensor, tf.Tensor], list[Values]]
DECODERS: dict[str, Decoder] = {"blocks": decode_blocks, "examples": decode_examples}


def widen(values: Values, whole: Feature, kind: str) -> Values:
    """Return a shard's column with the dtypes of `whole`, which holds all shards' values."""
    dtype = DECODED_DTYPES[whole.storage]
    if kind == "examples" and dtype.is_floating:
        dtype = tf.float32
    present = values.present
    if whole.nullable and present is None:
        present = tf.ones_like(values.numbers, tf.bool)
    return Values(tf.cast(values.numbers, dtype), values.lengths, present, values.triples)


def densify(values: Values, static_length: int) -> tf.Tensor:
    """Return a list column as [rows, static_length], padded with 0; of a longer list the last values are kept."""
    if values.lengths is None:
        raise ValueError("only a list column has lengths")
    ragged = tf.RaggedTensor.from_row_lengths(values.numbers, values.lengths, validate=False)
    dense: tf.Tensor = ragged[:, -static_length:].to_tensor(shape=[None, static_length])
    return dense


def _unpack_bits(bitmap: tf.Tensor) -> tf.Tensor:
    places = tf.constant([1 << place for place in range(8)], tf.uint8)
    return tf.reshape(tf.bitwise.bitwise_and(tf.io.decode_raw(bitmap, tf.uint8)[:, None], places) > 0, [-1])


def _example_dtype(feature: Feature) -> tf.DType:
    return tf.float32 if feature.storage in ("f16", "bf16", "f32") else tf.int64


def _example_field(feature: Feature) -> tf.io.RaggedFeature | tf.io.FixedLenFeature:
    dtype = _example_dtype(feature)
    if feature.lengths is not None or feature.nullable:
        return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int32)
    return tf.io.FixedLenFeature(feature.shape, dtype)


def _example_values(feature: Feature, parsed: tf.Tensor | tf.RaggedTensor) -> Values:
    if feature.lengths is not None:
        return Values(parsed.flat_values, parsed.row_lengths())
    if feature.nullable:
        return Values(parsed.to_tensor(shape=[None, 1])[:, 0], None, parsed.row_lengths() > 0)
    return Values(parsed)
