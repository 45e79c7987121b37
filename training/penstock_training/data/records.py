"""Read the records of one run of rows, wherever it lies in a shard."""

import tensorflow as tf

from penstock_shared.features import Feature
from penstock_training.data.decode import DECODERS, Values


def read_block(
    kind: str, features: tuple[Feature, ...], path: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, rows: tf.Tensor
) -> dict[str, Values]:
    """Read one run of rows and return its columns by feature name.

    `kind` is the record layout and `features` are as its shard stores them; the other arguments are as those of
    read_records, and so are its errors.
    """
    records = read_records(kind, path, offset, size, rows)
    columns = DECODERS[kind](records, features, rows, place_of(path, offset))
    return {feature.name: column for feature, column in zip(features, columns, strict=True)}


def read_records(kind: str, path: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Return the records of one run of rows, string [1] for a block or [rows] for examples; arguments are scalars.

    `offset` and `size` are int64 bytes and `rows` int32. Raises DataLossError when a checksum fails, and, once the
    records are decoded, InvalidArgumentError when the rows are not those that the index promises.
    """
    # tf.data.TFRecordDataset has no byte_offsets; the op beneath it has. A buffer of the run's size makes it one read.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None], compression_type="", buffer_size=size, byte_offsets=offset[None]
    )
    records = 1 if kind == "blocks" else tf.cast(rows, tf.int64)
    run = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(records)
    return run.batch(records).get_single_element()


def place_of(path: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Return the name of a run of rows for messages."""
    return tf.strings.join([path, " at byte ", tf.strings.as_string(offset)])
