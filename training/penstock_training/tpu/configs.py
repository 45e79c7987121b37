"""Describe a model's lookups to TPU embeddings: one table for each of its large ones, one feature for each lookup."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from penstock_training.optimizers import table_key
from penstock_training.tpu.stand_in import CoreTable


@dataclass(frozen=True)
class Lookup:
    """Say that a step looks `ids` ids up in a table; lookups of one table share it."""

    name: str
    table: CoreTable
    ids: int


def name_lookups(asked: list[tuple[CoreTable, int]]) -> list[Lookup]:
    """Name the lookups of a step, (table, ids) in the order in which it makes them, after table and number."""
    return [Lookup(f"{table_key(table)}.{number}", table, ids) for number, (table, ids) in enumerate(asked)]


def feature_configs(lookups: list[Lookup], blank: bool = False) -> dict[str, Any]:
    """Return the FeatureConfig of each lookup by name: flat ids, each answered by its row.

    Tables start from their initial rows, or where `blank` from zeros.
    """
    tables = {
        table_key(lookup.table): tf.tpu.experimental.embedding.TableConfig(
            vocabulary_size=lookup.table.shape[0],
            dim=lookup.table.shape[1],
            initializer=_zeros if blank else _initializer(lookup.table.initial),
            combiner="sum",
            name=table_key(lookup.table),
        )
        for lookup in {table_key(lookup.table): lookup for lookup in lookups}.values()
    }
    return {
        lookup.name: tf.tpu.experimental.embedding.FeatureConfig(
            tables[table_key(lookup.table)],
            output_shape=[lookup.ids],
            validate_weights_and_indices=False,
            name=lookup.name,
        )
        for lookup in lookups
    }


def input_options() -> tf.distribute.InputOptions:
    """Return how to distribute batches: ids stay on the host, from where they are sent to the embedding cores."""
    return tf.distribute.InputOptions(
        experimental_fetch_to_device=False,
        experimental_replication_mode=tf.distribute.InputReplicationMode.PER_WORKER,
    )


def _zeros(shape: Any, dtype: tf.DType = tf.float32, shard_info: Any = None) -> tf.Tensor:
    return tf.zeros(shape if shard_info is None else shard_info.shape, dtype)


def _initializer(initial: Callable[[], tf.Tensor]) -> Callable[..., tf.Tensor]:
    def initialize(shape: Any, dtype: tf.DType = tf.float32, shard_info: Any = None) -> tf.Tensor:
        whole = tf.cast(initial(), dtype)
        if shard_info is not None and tuple(shard_info.shape) != tuple(whole.shape):
            raise NotImplementedError(
                f"a table {whole.shape} was asked for a shard {shard_info.shape}: whose rows these are is the TPU's "
                "secret, so that tables of several hosts can only be restored"
            )
        return whole

    return initialize
