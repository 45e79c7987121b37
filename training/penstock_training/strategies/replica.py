"""Divide a batch between replicas: each takes its rows, sees what the others hold, and applies everybody's gradients.

What a replica gathers it asks of its context; which rows are its own is a function of its number and their count, so
that a host can reckon what a replica will need. The loss of a step is the mean over the global batch: each replica's
mean, divided by the number of replicas, summed. Gradients are sums over replicas, so that all make the same update.
"""

from dataclasses import dataclass

import tensorflow as tf

from penstock_training.data.lanes import Host


@dataclass(frozen=True)
class Replica:
    """Say which of how many replicas, those of all hosts, this is."""

    number: tf.Tensor | int
    count: int


@dataclass(frozen=True)
class Part:
    """Say which rows of a global batch of `batch_rows` rows are this replica's: `rows` of them from `first_row` on."""

    first_row: tf.Tensor
    rows: tf.Tensor | int
    batch_rows: tf.Tensor | int

    def of(self, drawn: tf.Tensor) -> tf.Tensor:
        """Return this replica's rows of what was drawn for the whole batch, [batch_rows, ...]."""
        return _rows(drawn, self.first_row, self.rows)


def replicas() -> int:
    """Return the number of replicas that take a step together."""
    count: int = tf.distribute.get_strategy().num_replicas_in_sync
    return count


def this_replica() -> Replica:
    """Return which replica calls."""
    if replicas() == 1:
        return Replica(0, 1)
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    return Replica(tf.convert_to_tensor(number, tf.int32), replicas())


def divide(batch: dict[str, tf.Tensor], replica: Replica, host: Host) -> tuple[dict[str, tf.Tensor], Part]:
    """Return a replica's rows of its host's part of the global batch, and which rows of the whole these are."""
    replicas_per_host = replica.count // host.count
    if replica.count == 1:
        return batch, part_of(batch, replica)
    rows = _count(batch) // replicas_per_host
    first = (replica.number - host.index * replicas_per_host) * rows
    own = {name: _rows(values, first, rows) for name, values in batch.items()}
    return own, part_of(own, replica)


def part_of(own: dict[str, tf.Tensor], replica: Replica) -> Part:
    """Return which rows of the global batch a replica's `own` are."""
    rows = _count(own)
    return Part(tf.convert_to_tensor(replica.number * rows), rows, rows * replica.count)


def _count(batch: dict[str, tf.Tensor]) -> tf.Tensor | int:
    values = next(iter(batch.values()))
    return tf.shape(values)[0] if values.shape[0] is None else values.shape[0]


def _rows(values: tf.Tensor, first: tf.Tensor, rows: tf.Tensor | int) -> tf.Tensor:
    # Of values[first : first + rows] the shape is unknown where the replica's number is a tensor, as on a TPU.
    others = values.shape.rank - 1
    return tf.slice(values, [first, *[0] * others], [rows, *[-1] * others])


def gather_rows(values: tf.Tensor) -> tf.Tensor:
    """Return the rows of all replicas, one after another; a gradient comes back to the replica whose rows they are."""
    if replicas() == 1:
        return values
    gathered: tf.Tensor = tf.distribute.get_replica_context().all_gather(values, axis=0)
    return gathered


def gather_slices(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """Return the gradient of a table as the sum over replicas, still sparse: everybody's rows, one after another."""
    if replicas() == 1 or not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.IndexedSlices(gather_rows(gradient.values), gather_rows(gradient.indices), gradient.dense_shape)
