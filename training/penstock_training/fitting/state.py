"""Write all that training changes into a checkpoint, and read it back into place."""

import tensorflow as tf

from penstock_training.tables.store import read_slices, write_slices

VALUE = ".ATTRIBUTES/VARIABLE_VALUE"


class State:
    """Hold what has a row per id, tables and their slots, apart from the rest, which is small."""

    def __init__(
        self, tables: dict[str, tf.Variable], slots: dict[str, tf.Variable], rest: tf.train.Checkpoint
    ) -> None:
        """Take tables and slots by name."""
        # TensorFlow doubles the dots of a name in a checkpoint's keys.
        named = {f"tables/{name}": table for name, table in tables.items()}
        named |= {f"rows/{name}": held for name, held in slots.items()}
        self.tables = {f"{name.replace('.', '..')}/{VALUE}": table for name, table in named.items()}
        self.rest = rest

    def write(self, prefix: str) -> None:
        """Write a checkpoint that any tool of TensorFlow can read."""
        parts = [self.rest.write(f"{prefix}-rest"), *write_slices(f"{prefix}-rows", self.tables)]
        tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix, delete_old_dirs=False)

    def read(self, prefix: str) -> None:
        """Read a checkpoint of the same model; raises AssertionError or ValueError where it is of another."""
        shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
        for key, table in self.tables.items():
            if shapes.get(key) != table.shape.as_list():
                raise ValueError(f"{key} has the shape {shapes.get(key)}, expected {table.shape.as_list()}")
        self.rest.read(prefix).assert_consumed()
        self.read_rows(prefix)

    def read_rows(self, prefix: str) -> None:
        """Read as many rows of tables and slots as a checkpoint has; raises ValueError as read_slices does."""
        read_slices(prefix, self.tables)
