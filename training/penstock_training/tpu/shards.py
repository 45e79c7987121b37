"""Carry tables and slots between SparseCores, each of which holds every n-th row of a table, and copies on the host."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.tpu.tpu_embedding_v3_utils import map_indices_in_shard
from tensorflow_recommenders.layers.embedding import TPUEmbedding


def on_sparse_cores(layer: TPUEmbedding | None) -> bool:
    """Tell whether a layer's tables lie with SparseCores, in variables of the chips."""
    return layer is not None and isinstance(layer._tpu_embedding, tf.tpu.experimental.embedding.TPUEmbeddingV2)


def pull_layer(layer: TPUEmbedding, twin: TPUEmbedding) -> None:
    """Give the variables of a layer on the host what a layer on SparseCores holds."""
    for shards, layout, copy in _pairs(layer, twin):
        pull(shards, layout, copy)


def push_layer(twin: TPUEmbedding, layer: TPUEmbedding) -> None:
    """Give a layer on SparseCores what one on the host holds."""
    for shards, layout, copy in _pairs(layer, twin):
        push(copy, layout, shards)


def pull(shards: list[tf.Variable], layout: Any, copy: tf.Variable) -> None:
    """Set a table [rows, width] from the chips' shards, laid out as TensorFlow's SparseCoreTableLayout says."""
    for chip, shard in enumerate(shards):
        held = shard.numpy()
        for there, here in _pieces(layout, chip):
            copy[here].assign(held[there, : copy.shape[1]])


def push(copy: tf.Variable, layout: Any, shards: list[tf.Variable]) -> None:
    """Set the chips' shards from a table [rows, width]; what pads them stays, since no root of it may become zero."""
    for chip, shard in enumerate(shards):
        held = shard.numpy().copy()
        for there, here in _pieces(layout, chip):
            held[there, : copy.shape[1]] = copy[here].numpy()
        shard.assign(held)


def _pairs(layer: TPUEmbedding, twin: TPUEmbedding) -> Iterator[tuple[list[tf.Variable], Any, tf.Variable]]:
    cores = layer._tpu_embedding
    for table, copies in twin._tpu_embedding._variables.items():
        for slot, copy in copies.items():
            yield cores._variables[table][slot].values, cores.embedding_layouts[table], copy


def _pieces(layout: Any, chip: int) -> Iterator[tuple[slice, slice]]:
    """Yield, for each core of a chip, rows of the chip's shard and which rows of the table these are."""
    cores, rows = layout.num_sparse_cores, layout.unsharded_shape[0]
    cores_of_chip = cores // layout.num_partitions
    # Where the first rows lie, each with a core of its own; those after them, in steps of all cores, follow there.
    firsts = np.arange(min(cores, rows))
    offset, rotation = layout.sparse_core_shard_row_offset, layout.sparse_core_shard_rotation
    for first, core, place in zip(firsts, *map_indices_in_shard(cores, offset, rotation, firsts), strict=True):
        if core // cores_of_chip == chip:
            start = core % cores_of_chip * layout.total_rows_per_sparse_core_shard + place
            yield slice(start, start + len(range(first, rows, cores))), slice(first, rows, cores)
