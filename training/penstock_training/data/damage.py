"""Turn a failed read into a refusal that names the shard and the block."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from penstock_shared.errors import DataRefused
from penstock_training.data.dataset import Dataset
from penstock_training.data.records import read_block

READ_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.FailedPreconditionError,
)


@contextmanager
def reading(dataset: Dataset, split_name: str) -> Iterator[None]:
    """Raise DataRefused naming the first damaged block when what is read inside fails and the split is to blame."""
    try:
        yield
    except READ_ERRORS as fault:
        found = find_damage(dataset, split_name)
        if found is None:
            raise
        raise DataRefused(found) from fault


def find_damage(dataset: Dataset, split_name: str) -> str | None:
    """Read a split's blocks one by one and describe the first that cannot be read, None when all can."""
    blocks = dataset.block_table(split_name)
    shards = dataset.split(split_name).shards
    for block in range(len(blocks.rows)):
        shard = shards[int(blocks.shards[block])]
        try:
            read_block(
                dataset.manifest.layout.kind,
                dataset.manifest.features_of(shard),
                tf.constant(dataset.path(shard)),
                tf.constant(blocks.offsets[block]),
                tf.constant(blocks.bytes[block]),
                tf.constant(int(blocks.rows[block])),
            )
        except READ_ERRORS as fault:
            reason = (
                "fails its checksum" if isinstance(fault, tf.errors.DataLossError) else fault.message.splitlines()[0]
            )
            return (
                f"{dataset.path(shard)}: corrupt: block {block} of split {split_name}, {int(blocks.rows[block])} rows "
                f"at byte {int(blocks.offsets[block])}: {reason}; copy or build this shard again"
            )
    return None
