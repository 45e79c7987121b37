"""Read the rows of a split as numpy columns, for evaluation and baselines."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from penstock_shared.errors import DataRefused
from penstock_training.data.damage import reading
from penstock_training.data.dataset import Dataset
from penstock_training.data.feed import WEIGHT, Feed
from penstock_training.data.inputs import Inputs


@dataclass(frozen=True)
class Rows:
    """Hold parallel columns: int64 user and item ids, and float64 labels, NaN where the task has none."""

    users: np.ndarray
    items: np.ndarray
    labels: np.ndarray

    def where(self, keep: np.ndarray) -> "Rows":
        """Return the rows where `keep`, bool [rows]."""
        return Rows(self.users[keep], self.items[keep], self.labels[keep])


class SplitRows:
    """Read a split again and again in pieces of `batch_rows`, every row once, in order."""

    def __init__(self, dataset: Dataset, split_name: str, inputs: Inputs, batch_rows: int) -> None:
        """Read the split's block index."""
        self.dataset, self.split_name, self.inputs = dataset, split_name, inputs
        # Batches are filled up: one larger than the split would only hold more of nothing.
        batch_rows = min(batch_rows, dataset.split(split_name).rows)
        self._batches = Feed(dataset, split_name, batch_rows, inputs.names).evaluation_batches()

    def __iter__(self) -> Iterator[Rows]:
        """Yield the rows of each batch, without those that fill up the last.

        Raises DataRefused where a shard is damaged, or has ids outside their vocabularies.
        """
        with reading(self.dataset, self.split_name):
            for batch in self._batches:
                rows = self._rows(batch)
                if strays := self.inputs.strays({self.inputs.user.name: rows.users, self.inputs.item.name: rows.items}):
                    raise DataRefused(f"{self.dataset.manifest_path}: split {self.split_name}: {strays}")
                yield rows

    def all(self, users: np.ndarray | None = None) -> Rows:
        """Return all rows, or those of the users where `users`, bool [user ids], is true."""
        pieces = [piece if users is None else piece.where(users[piece.users]) for piece in self]
        return Rows(
            np.concatenate([piece.users for piece in pieces]),
            np.concatenate([piece.items for piece in pieces]),
            np.concatenate([piece.labels for piece in pieces]),
        )

    def _rows(self, batch: dict[str, tf.Tensor]) -> Rows:
        rows = int(np.count_nonzero(batch[WEIGHT].numpy()))
        label = self.inputs.label
        return Rows(
            batch[self.inputs.user.name].numpy()[:rows].astype(np.int64),
            batch[self.inputs.item.name].numpy()[:rows].astype(np.int64),
            np.full(rows, np.nan) if label is None else batch[label.name].numpy()[:rows].astype(np.float64),
        )
