"""Keep tables in a checkpoint slice by slice, so that saving and restoring hold no second copy of one.

TensorFlow copies a whole variable that is updated by rows whenever it is read, and restores all variables at once.
Slices are what it calls slices of a partitioned variable, so any of its tools can read the checkpoint.
"""

from collections.abc import Iterator

import tensorflow as tf

from penstock_training.tables.slices import slices

# A slice is a file of the checkpoint.
STORED_BYTES = 256 << 20


def write_slices(prefix: str, tables: dict[str, tf.Variable]) -> list[str]:
    """Write the tables, by their names in the checkpoint; return the prefixes of the parts, to be merged."""
    parts: list[str] = []
    for name, table in tables.items():
        for first, rows in _slices(table.shape):
            parts.append(f"{prefix}-{len(parts):05d}")
            tf.raw_ops.SaveV2(
                prefix=parts[-1],
                tensor_names=[name],
                shape_and_slices=[_slice(table.shape, first, rows)],
                tensors=[tf.gather(table, tf.range(first, first + rows))],
            )
    return parts


def read_slices(prefix: str, tables: dict[str, tf.Variable]) -> None:
    """Read into each table as many rows as the checkpoint has of it, which may be fewer.

    Raises ValueError when the checkpoint does not have it, or has more or other rows.
    """
    shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    for name, table in tables.items():
        held, wanted = shapes.get(name), table.shape.as_list()
        if held is None or held[0] > wanted[0] or held[1:] != wanted[1:]:
            raise ValueError(f"{name} has the shape {held}, expected {wanted}")
        for first, rows in _slices(held):
            part = _slice(held, first, rows)
            (found,) = tf.raw_ops.RestoreV2(
                prefix=prefix, tensor_names=[name], shape_and_slices=[part], dtypes=[tf.float32]
            )
            for copy in getattr(table, "values", (table,)):  # Of a mirrored variable, each replica's.
                copy.scatter_update(tf.IndexedSlices(found, tf.range(first, first + rows)))


def _slices(shape: list[int]) -> Iterator[tuple[int, int]]:
    return slices(shape[0], shape[1], STORED_BYTES)


def _slice(shape: list[int], first: int, rows: int) -> str:
    return f"{shape[0]} {shape[1]} {first},{rows}:-"
