"""Trace as one of many chips would: a step sees how many there are, its own number, and what the others hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf


class Slice(tf.distribute.OneDeviceStrategy):
    """Say that `chips` replicas take a step together, of which one is here."""

    def __init__(self, chips: int) -> None:
        """Place variables where TensorFlow would."""
        super().__init__("/cpu:0")
        self._chips = chips

    @property
    def num_replicas_in_sync(self) -> int:
        """Return the number of chips."""
        return self._chips


class Others:
    """Give what the other chips hold of each gather of a trace, in the order of the gathers."""

    def __init__(self, chips: int) -> None:
        """Start without any."""
        self.chips = chips
        self.specs: list[tf.TensorSpec] = []
        self._given: Iterator[tf.Tensor] | None = None

    @contextmanager
    def giving(self, number: tf.Tensor, rows: list[tf.Tensor] | None = None) -> Iterator[None]:
        """Trace what is inside as chip `number`, a scalar int32; gathers get these rows, or else zeros."""
        self._given = None if rows is None else iter(rows)
        if self.chips == 1:
            yield
            return
        with _Chip(Slice(self.chips), number, self):
            yield

    def rows(self, own: tf.Tensor, axis: int) -> tf.Tensor:
        """Return what the others hold of a gather to which this chip gives `own`; remember of what shape it is."""
        others = self.chips - 1
        if not own.shape.is_fully_defined():
            # No input has such a shape; whoever made it is refused.
            return tf.concat([own] * others, axis)
        if self._given is not None:
            return next(self._given)
        shape = own.shape.as_list()
        shape[axis] *= others
        self.specs.append(tf.TensorSpec(shape, own.dtype))
        return tf.zeros(shape, own.dtype)


class _Chip(tf.distribute.ReplicaContext):
    """Be the replica of one chip, whose number is known only when it runs, as on a TPU."""

    def __init__(self, strategy: Slice, number: tf.Tensor, others: Others) -> None:
        super().__init__(strategy, number)
        self._others = others

    def all_gather(self, value: tf.Tensor, axis: int, options: Any = None) -> tf.Tensor:
        """Return the chip's rows and those of the others; that its own come first changes no shape and no cost."""
        return tf.concat([value, self._others.rows(value, axis)], axis)
