"""Keep tables on embedding cores, and their slots, in the checkpoints that other strategies read and write."""

import posixpath
import tempfile
from typing import Any

import tensorflow as tf
from tensorflow_recommenders.layers.embedding import TPUEmbedding

from penstock_training.fitting.state import State
from penstock_training.tpu.shards import on_sparse_cores, pull_layer, push_layer


class CoreSlots:
    """Show the slots of a table on embedding cores side by side, as sparse kernels keep them."""

    def __init__(self, slots: list[tf.Variable], beyond: list[float]) -> None:
        """Take each slot, and what it holds beyond that of the sparse kernels."""
        self._slots, self._beyond = slots, beyond
        self.shape = tf.TensorShape([slots[0].shape[0], sum(slot.shape[1] for slot in slots)])

    def sparse_read(self, indices: tf.Tensor, name: str | None = None) -> tf.Tensor:
        """Return the rows `indices`; tf.gather asks by this method."""
        both = zip(self._slots, self._beyond, strict=True)
        return tf.concat([tf.gather(slot, indices) - beyond for slot, beyond in both], axis=1)

    def scatter_update(self, rows: tf.IndexedSlices) -> None:
        """Set rows."""
        parts = tf.split(rows.values, [slot.shape[1] for slot in self._slots], axis=1)
        for slot, part, beyond in zip(self._slots, parts, self._beyond, strict=True):
            for copy in getattr(slot, "values", (slot,)):  # Of a mirrored variable, each replica's.
                copy.scatter_update(tf.IndexedSlices(part + beyond, rows.indices))


class Copies:
    """Hold copies on the host of what a TPU's layer holds; where there is no TPU, the layer's variables are there."""

    def __init__(self, layer: TPUEmbedding | None, twin: TPUEmbedding | None) -> None:
        """Take the layer, if there is any, and one like it that was built on the host, where it is not itself there."""
        self._layer, self._twin = layer, twin

    @property
    def variables(self) -> dict[str, dict[str, tf.Variable]]:
        """Return, by a table's name, its `parameters` and slots."""
        if self._layer is None:
            return {}
        held: dict[str, dict[str, tf.Variable]] = (self._twin or self._layer)._tpu_embedding._variables
        return held

    def pull(self) -> None:
        """Read what the cores hold."""
        if self._twin is not None:
            (pull_layer if on_sparse_cores(self._layer) else carry)(self._layer, self._twin)

    def push(self) -> None:
        """Give the cores what is here."""
        if self._twin is not None:
            (push_layer if on_sparse_cores(self._layer) else carry)(self._twin, self._layer)


def carry(source: TPUEmbedding, target: TPUEmbedding) -> None:
    """Make the tables and slots of a layer those of another; a checkpoint is the one way that TensorFlow documents.

    It is the way of cores that keep tables out of reach, V1, and not that of SparseCores.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = tf.train.Checkpoint(layer=source).write(posixpath.join(folder, "layer"))
        tf.train.Checkpoint(layer=target).read(written).assert_existing_objects_matched()


class CoreState(State):
    """Write and read what lies with embedding cores by way of its copies."""

    def __init__(
        self, tables: dict[str, Any], slots: dict[str, Any], rest: tf.train.Checkpoint, copies: Copies
    ) -> None:
        """Take tables and slots by name, those on cores as their copies."""
        super().__init__(tables, slots, rest)
        self._copies = copies

    def write(self, prefix: str) -> None:
        """Write a checkpoint of what the cores hold now."""
        self._copies.pull()
        super().write(prefix)

    def read_rows(self, prefix: str) -> None:
        """Read rows, and give them to the cores."""
        super().read_rows(prefix)
        self._copies.push()
