"""Load entity tables: the attributes of users and items, to be looked up by id inside a step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.layout import BLOCK_HEADER_BYTES
from penstock_shared.splits import Shard
from penstock_shared.vocabularies import Vocabulary
from penstock_training.data.dataset import Dataset
from penstock_training.data.decode import Values, decode_block
from penstock_training.storage import reason, sequential_bytes


@dataclass(frozen=True)
class IdAttribute:
    """Hold the ids of one feature, below `size`, of every entity: one each, or lists of up to `longest`.

    `ids` is int32, one per entity, or for lists all of them end to end, entity i's from `offsets[i]` to
    `offsets[i + 1]`, int64.
    """

    name: str
    size: int
    ids: tf.Tensor
    offsets: tf.Tensor | None
    longest: int

    def lists(self, entities: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return (ids, mask) [n, longest] of entities [n]; where the mask is false, the id is 0."""
        assert self.offsets is not None
        starts, ends = tf.gather(self.offsets, entities), tf.gather(self.offsets, entities + 1)
        places = starts[:, None] + tf.range(self.longest, dtype=tf.int64)
        mask = places < ends[:, None]
        return tf.gather(self.ids, tf.where(mask, places, 0)) * tf.cast(mask, tf.int32), mask


@dataclass(frozen=True)
class Attributes:
    """Hold chosen features of all entities of a vocabulary; `numbers` is float32 [entities, width].

    A number that may be missing has a column more, which is 1 where it is.
    """

    ids: tuple[IdAttribute, ...] = ()
    numbers: tf.Tensor | None = None

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self.ids) or self.numbers is not None


NO_ATTRIBUTES = Attributes()


def load_attributes(dataset: Dataset, table_name: str, names: tuple[str, ...]) -> Attributes:
    """Read the features `names` of a table.

    Raises DataRefused naming the shard that fails its checksums, or does not hold the rows the manifest says.
    """
    if not names:
        return NO_ATTRIBUTES
    table = dataset.manifest.tables[table_name]
    columns = tuple(feature.column for feature in table.features)
    pieces = [piece for shard in table.shards for piece in _blocks(dataset, shard, columns)]
    ids, numbers = [], []
    for name in names:
        place = next(place for place, feature in enumerate(table.features) if feature.name == name)
        feature, values = table.features[place], [piece[place] for piece in pieces]
        size = id_count(feature, dataset.manifest.vocabularies)
        if size is not None:
            ids.append(_ids(feature, size, values))
        else:
            numbers += _numbers(feature, values)
    return Attributes(tuple(ids), tf.constant(np.concatenate(numbers, axis=1)) if numbers else None)


def id_count(feature: Feature, vocabularies: dict[str, Vocabulary]) -> int | None:
    """Return how many ids a feature may have, None for a number; a missing one without a vocabulary is an id more."""
    if feature.vocabulary is not None:
        return vocabularies[feature.vocabulary].size
    return None if feature.ids is None else feature.ids + 1


def _ids(feature: Feature, size: int, values: list[Values]) -> IdAttribute:
    flat = np.concatenate([held.numbers.numpy().astype(np.int32) for held in values])
    if feature.lengths is not None:
        lengths = np.concatenate([np.array(held.lengths, np.int64) for held in values])
        # One id more, so that there is one to gather where all lists are empty.
        flat, offsets = np.append(flat, np.int32(0)), np.append(0, np.cumsum(lengths))
        return IdAttribute(feature.name, size, tf.constant(flat), tf.constant(offsets), max(1, int(lengths.max())))
    if feature.vocabulary is None:
        flat = np.where(_present(values), flat + 1, 0).astype(np.int32)
    return IdAttribute(feature.name, size, tf.constant(flat), None, 1)


def _numbers(feature: Feature, values: list[Values]) -> list[np.ndarray]:
    numbers = np.concatenate([held.numbers.numpy().astype(np.float32) for held in values])
    columns = [numbers.reshape(len(numbers), -1)]
    if feature.nullable:
        present = _present(values)
        columns = [columns[0] * present[:, None], (~present[:, None]).astype(np.float32)]
    return columns


def _present(values: list[Values]) -> np.ndarray:
    known = [np.ones(len(held.numbers), bool) if held.present is None else held.present.numpy() for held in values]
    present: np.ndarray = np.concatenate(known)
    return present


def _blocks(dataset: Dataset, shard: Shard, columns: tuple) -> Iterator[list[Values]]:
    path, held = dataset.path(shard), 0
    try:
        for payload in tf.data.TFRecordDataset(path, buffer_size=sequential_bytes(shard.bytes)).as_numpy_iterator():
            rows = int.from_bytes(payload[:BLOCK_HEADER_BYTES], "little")
            yield decode_block(tf.constant(payload), columns, tf.constant(rows), tf.constant(path))
            held += rows
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as fault:
        raise DataRefused(f"{path}: corrupt after {held} rows: {reason(fault)}; copy the dataset again") from None
    if held != shard.rows:
        raise DataRefused(f"{path}: holds {held} rows, expected {shard.rows} as the manifest says")
