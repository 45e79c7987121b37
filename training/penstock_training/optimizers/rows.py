"""Update only the table rows that a batch touched, slots included, so that a step's cost does not grow with the table.

A table's gradient arrives as IndexedSlices. Duplicate ids are summed first, so that each row is updated once per step.
All reads and writes are gathers and scatters on the variable: a dense read would copy the whole table.
"""

from abc import ABC, abstractmethod

import tensorflow as tf

from penstock_training.tables.fill import filled


class RowOptimizer(ABC):
    """Apply sparse gradients to tables; a subclass is the formula and the slots it needs."""

    slot_names: tuple[str, ...] = ()

    def __init__(self, tables: list[tf.Variable]) -> None:
        """Create the slots of every table: its slots side by side in one variable, so that a row's lie together."""
        self.slots = {table_key(table): self._new_slots(table) for table in tables if self.slot_names}

    def apply(self, table: tf.Variable, gradient: tf.IndexedSlices, step: tf.Tensor) -> None:
        """Update the rows of `table` that `gradient` names; `step` counts from 0, int64.

        Raises TypeError on a dense gradient, which would make every step as slow as the table is large.
        """
        if not isinstance(gradient, tf.IndexedSlices):
            raise TypeError(
                f"table {table.name}: found a dense gradient {gradient}, expected IndexedSlices from gathers"
            )
        ids, place = tf.unique(tf.reshape(gradient.indices, [-1]))
        values = tf.reshape(gradient.values, [-1, table.shape[1]])
        summed = tf.math.unsorted_segment_sum(values, place, tf.size(ids))
        held = self.read_slots(table, ids)
        rows, slots = self.update(tf.gather(table, ids), summed, held, tf.cast(step + 1, tf.float32))
        if slots:
            updates = tf.concat([slots[name] for name in self.slot_names], axis=1)
            tf.raw_ops.ResourceScatterUpdate(resource=self.slots[table_key(table)].handle, indices=ids, updates=updates)
        tf.raw_ops.ResourceScatterUpdate(resource=table.handle, indices=ids, updates=rows)

    def apply_densely(self, table: tf.Variable, gradient: tf.IndexedSlices, step: tf.Tensor) -> None:
        """Do what `apply` does by reading and writing a whole table: for small ones, and where shapes must be known."""
        rows, width = table.shape
        ids = tf.reshape(gradient.indices, [-1])
        summed = tf.math.unsorted_segment_sum(tf.reshape(gradient.values, [-1, width]), ids, rows)
        touched = tf.math.unsorted_segment_sum(tf.ones_like(ids, tf.float32), ids, rows)[:, None] > 0
        held = self.slots[table_key(table)] if self.slot_names else None
        parts = [] if held is None else tf.split(held, len(self.slot_names), axis=1)
        slots = dict(zip(self.slot_names, parts, strict=True))
        updated, new_slots = self.update(table.read_value(), summed, slots, tf.cast(step + 1, tf.float32))
        table.assign(tf.where(touched, updated, table))
        if held is not None:
            held.assign(tf.where(touched, tf.concat([new_slots[name] for name in self.slot_names], axis=1), held))

    def read_slots(self, table: tf.Variable, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the slots of the rows `ids` [n] of a table by name, each [n, its width]."""
        if not self.slot_names:
            return {}
        held = tf.gather(self.slots[table_key(table)], ids)
        return dict(zip(self.slot_names, tf.split(held, len(self.slot_names), axis=1), strict=True))

    def initial_slot(self, name: str) -> float:
        """Return what a slot is filled with at the start."""
        return 0.0

    def slot_width(self, dimension: int) -> int:
        """Return how many numbers each slot of a row holds, for rows of `dimension`."""
        return dimension

    def _new_slots(self, table: tf.Variable) -> tf.Variable:
        rows, width = table.shape[0], self.slot_width(table.shape[1])

        total, name = width * len(self.slot_names), f"{table_key(table)}.slots"

        def fill(first: int, count: int) -> tf.Tensor:
            return tf.repeat([[self.initial_slot(name) for name in self.slot_names]], [width], axis=1) * tf.ones(
                [count, 1]
            )

        return tf.Variable(
            lambda: filled(rows, total, fill), shape=[rows, total], dtype=tf.float32, trainable=False, name=name
        )

    @abstractmethod
    def update(
        self, rows: tf.Tensor, gradient: tf.Tensor, slots: dict[str, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Return the new rows and slots; rows and gradient are [rows, dimension], and `step` counts from 1."""


def table_key(table: tf.Variable) -> str:
    """Return the name of a table in a checkpoint."""
    name: str = table.name.removesuffix(":0")
    return name.replace("/", ".")
