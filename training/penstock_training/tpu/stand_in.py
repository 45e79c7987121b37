"""Stand in for the tables on embedding cores: a shape without memory, whose lookups are inputs of the step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from penstock_training.optimizers import table_key

# Tables of fewer rows are replicated and updated densely: for them the matrix units wait less than for the exchange.
# The threshold of the TensorFlow Model Garden's ranking model.
LEAST_ROWS_ON_CORES = 50_000


class Lookups:
    """Give each lookup of a trace its activations, in the order of the lookups."""

    def __init__(self) -> None:
        """Start without any."""
        # Of each lookup of a trace, its table and the shape of its ids.
        self.traced: list[tuple[CoreTable, tf.TensorShape]] = []
        # Copies of the tables by name, which answer outside of steps, where there are any.
        self.copies: dict[str, tf.Variable] = {}
        self._given: Iterator[tf.Tensor] | None = None
        self._asked: list[tuple[CoreTable, tf.Tensor]] | None = None

    @property
    def specs(self) -> list[tf.TensorSpec]:
        """Return what the lookups of a trace were answered with."""
        return [tf.TensorSpec([*shape, *table.shape[1:]], table.dtype) for table, shape in self.traced]

    @property
    def counted(self) -> list[tuple["CoreTable", int]]:
        """Return the (table, ids) of each lookup of a trace whose number of ids is known."""
        counts = [(table, shape.num_elements()) for table, shape in self.traced]
        return [(table, ids) for table, ids in counts if ids is not None]

    @contextmanager
    def asking(self) -> "Iterator[list[tuple[CoreTable, tf.Tensor]]]":
        """Collect each lookup's (table, ids), and answer it with zeros."""
        self._asked = []
        try:
            yield self._asked
        finally:
            self._asked = None

    @contextmanager
    def giving(self, activations: list[tf.Tensor]) -> Iterator[None]:
        """Answer lookups with these tensors."""
        self._given = iter(activations)
        try:
            yield
        finally:
            self._given = None

    def activations(self, table: "CoreTable", ids: tf.Tensor) -> tf.Tensor:
        """Return the next activations, or zeros where none are given; remember of what shape they are."""
        if self._given is not None:
            rows = next(self._given)
            # Embedding cores are asked for flat ids, also of lists.
            flat = rows.shape.rank != ids.shape.rank + 1
            return tf.reshape(rows, [*ids.shape, *table.shape[1:]]) if flat else rows
        if self._asked is not None:
            self._asked.append((table, ids))
        elif self.copies:
            return tf.gather(self.copies[table_key(table)], ids)
        else:
            self.traced.append((table, ids.shape))
        return tf.zeros([*tf.unstack(tf.shape(ids)), *table.shape[1:]], table.dtype)


class CoreTable(tf.Module):
    """Hold the shape of a table that is looked up elsewhere; tf.gather gives its activations, inputs of the step."""

    def __init__(
        self, name: str, shape: tf.TensorShape, dtype: tf.DType, lookups: Lookups, initial: Callable[[], tf.Tensor]
    ) -> None:
        """Take the place of a variable that would start from `initial`."""
        super().__init__()
        self._table_name, self.shape, self.dtype, self._lookups, self.initial = name, shape, dtype, lookups, initial

    @property
    def name(self) -> str:
        """Return the variable's name."""
        return self._table_name

    def sparse_read(self, indices: tf.Tensor, name: str | None = None) -> tf.Tensor:
        """Return the activations of `indices`; tf.gather asks a variable for its rows by this method."""
        return self._lookups.activations(self, tf.convert_to_tensor(indices))


def table_creator(least_rows: int, lookups: Lookups) -> Callable[..., Any]:
    """Return a creator for tf.variable_creator_scope that makes stand-ins of matrices of at least `least_rows` rows."""

    def create(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        shape = tf.TensorShape(kwargs["shape"])
        if shape.rank != 2 or shape[0] < least_rows:
            return next_creator(**kwargs)
        return CoreTable(kwargs["name"], shape, tf.as_dtype(kwargs["dtype"]), lookups, kwargs["initial_value"])

    return create
