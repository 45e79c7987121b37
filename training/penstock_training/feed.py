"""Feed batches of a split: training batches in the epoch's order, evaluation batches in the shards' order.

Blocks in the epoch's order -> read, check and decode each, by the columns its shard was written with -> windows of
rows -> permute the rows of each window -> batches. Every step is stateless, so that parallel calls change nothing, and
a step's place is computed by penstock_training.order.
"""

import functools

import numpy as np
import tensorflow as tf

from penstock_shared.features import Feature
from penstock_shared.layout import Column
from penstock_training.dataset import Dataset
from penstock_training.decode import DECODERS, Values, widen
from penstock_training.order import BlockTable, epoch_order, start_of_step, window_rows, window_seed
from penstock_training.pack import Packed, Packing
from penstock_training.storage import is_remote

WEIGHT = "row.weight"
# Calls at a time, measured best on few cores (benchmarks/feed.py); more fight for the cache, but hide the tens of
# milliseconds that a bucket takes for each block.
PARALLEL_BLOCKS = 4
PARALLEL_REMOTE_BLOCKS = 32
PARALLEL_WINDOWS = 3
PREFETCHED_BATCHES = 8


class Feed:
    """Make the batches of one split."""

    def __init__(
        self,
        dataset: Dataset,
        split_name: str,
        batch_rows: int,
        feature_names: tuple[str, ...],
        longest_list: int | None = None,
    ) -> None:
        """Read the split's block index; `feature_names` are the features that batches hold."""
        manifest = dataset.manifest
        self.blocks = dataset.block_table(split_name)
        self.batch_rows = batch_rows
        self._parallel_blocks = PARALLEL_REMOTE_BLOCKS if is_remote(dataset.folder) else PARALLEL_BLOCKS
        shards = dataset.split(split_name).shards
        self._paths = [dataset.path(shard) for shard in shards]
        self._manifest = manifest
        self._layouts, self._layout_of_shard = distinct_layouts([manifest.features_of(shard) for shard in shards])
        self._packing = Packing.of_features(_chosen(manifest.features, feature_names), longest_list)

    def training_batches(self, seed: int, epoch: int, first_step: int, window_blocks: int) -> tf.data.Dataset:
        """Return the batches of `epoch` from `first_step` on, all of `batch_rows` rows, as dicts of tensors."""
        rows_per_window = window_rows(window_blocks, self._manifest.layout.rows_per_block, self.batch_rows)
        blocks = self.blocks.take(epoch_order(len(self.blocks.rows), seed, epoch))
        start = start_of_step(blocks.rows, rows_per_window, self.batch_rows, first_step)
        key = tf.constant(window_seed(seed, epoch), tf.int32)

        def permute(window: tf.Tensor, packed: Packed) -> Packed:
            rows = tf.range(tf.shape(packed[0])[0])
            order = tf.random.experimental.stateless_shuffle(rows, key ^ tf.stack([window, 0]), alg="philox")
            permuted: Packed = tf.nest.map_structure(lambda tensor: tf.gather(tensor, order), packed)
            return permuted

        windows = self._packed_blocks(blocks, start.block, start.skip_rows).rebatch(rows_per_window)
        numbers = tf.data.Dataset.range(start.window, start.window + len(blocks.rows) + 1, output_type=tf.int32)
        permuted = tf.data.Dataset.zip((numbers, windows)).map(
            permute, num_parallel_calls=PARALLEL_WINDOWS, deterministic=True
        )
        batches = permuted.rebatch(self.batch_rows, drop_remainder=True).skip(start.skip_batches)
        unpacked = batches.map(self._unpack, num_parallel_calls=PARALLEL_WINDOWS, deterministic=True)
        return unpacked.prefetch(PREFETCHED_BATCHES).with_options(_options())

    def evaluation_batches(self) -> tf.data.Dataset:
        """Return every row once, in the shards' order; WEIGHT is 0 on the rows that fill up the last batch."""

        def pad(*packed: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = tf.shape(packed[0])[0]
            missing = self.batch_rows - rows
            filled = tf.nest.map_structure(lambda tensor: tf.pad(tensor, [[0, missing], [0, 0]]), packed)
            weight = tf.cast(tf.range(self.batch_rows) < rows, tf.float32)
            return {**self._unpack(*filled), WEIGHT: weight}

        batches = self._packed_blocks(self.blocks, 0, 0).rebatch(self.batch_rows)
        padded = batches.map(pad, num_parallel_calls=PARALLEL_WINDOWS, deterministic=True)
        return padded.prefetch(PREFETCHED_BATCHES).with_options(_options())

    def _packed_blocks(self, blocks: BlockTable, first_block: int, skip_rows: int) -> tf.data.Dataset:
        skips = [skip_rows] + [0] * (len(blocks.rows) - first_block - 1)
        columns = (blocks.shards, blocks.offsets, blocks.bytes, blocks.rows.astype("int32"))
        places = tf.data.Dataset.from_tensor_slices(
            (*(column[first_block:] for column in columns), tf.constant(skips, tf.int32))
        )
        paths, layouts = tf.constant(self._paths), tf.constant(self._layout_of_shard)

        def read(shard: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, rows: tf.Tensor, skip: tf.Tensor) -> Packed:
            records = read_records(self._manifest.layout.kind, paths[shard], offset, size, rows)
            where = place_of(paths[shard], offset)
            decoders = [functools.partial(self._pack, records, features, rows, where) for features in self._layouts]
            # Shards of one layout, which are most, are spared the choice.
            packed = decoders[0]() if len(decoders) == 1 else tf.switch_case(layouts[shard], decoders)
            skipped: Packed = tf.nest.map_structure(lambda tensor: tensor[skip:], packed)
            return skipped

        return places.map(read, num_parallel_calls=self._parallel_blocks, deterministic=True)

    def _pack(self, records: tf.Tensor, features: tuple[Feature, ...], rows: tf.Tensor, where: tf.Tensor) -> Packed:
        kind = self._manifest.layout.kind
        decoded = DECODERS[kind](records, features, rows, where)
        widened = [
            widen(values, feature, whole, kind)
            for values, feature, whole in zip(decoded, features, self._manifest.features, strict=True)
        ]
        return self._packing.pack({feature.name: held for feature, held in zip(features, widened, strict=True)})

    def _unpack(self, *packed: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._packing.unpack(packed, self.batch_rows)


def distinct_layouts(of_shards: list[tuple[Feature, ...]]) -> tuple[list[tuple[Feature, ...]], np.ndarray]:
    """Return (features of each distinct layout of columns, int32 [shards] which of them a shard has)."""
    places: dict[tuple[Column, ...], int] = {}
    found: list[tuple[Feature, ...]] = []
    numbers = []
    for features in of_shards:
        number = places.setdefault(tuple(feature.column for feature in features), len(found))
        if number == len(found):
            found.append(features)
        numbers.append(number)
    return found, np.array(numbers, np.int32)


def read_block(
    kind: str, features: tuple[Feature, ...], path: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, rows: tf.Tensor
) -> dict[str, Values]:
    """Read one run of rows and return its columns by feature name.

    `kind` is the record layout and `features` are as its shard stores them; the other arguments are as those of
    read_records, and so are its errors.
    """
    records = read_records(kind, path, offset, size, rows)
    columns = DECODERS[kind](records, features, rows, place_of(path, offset))
    return {feature.name: column for feature, column in zip(features, columns, strict=True)}


def read_records(kind: str, path: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Return the records of one run of rows, string [1] for a block or [rows] for examples; arguments are scalars.

    `offset` and `size` are int64 bytes and `rows` int32. Raises DataLossError when a checksum fails, and, once the
    records are decoded, InvalidArgumentError when the rows are not those that the index promises.
    """
    # tf.data.TFRecordDataset has no byte_offsets; the op beneath it has. A buffer of the run's size makes it one read.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None], compression_type="", buffer_size=size, byte_offsets=offset[None]
    )
    records = 1 if kind == "blocks" else tf.cast(rows, tf.int64)
    run = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(records)
    return run.batch(records).get_single_element()


def place_of(path: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Return the name of a run of rows for messages."""
    return tf.strings.join([path, " at byte ", tf.strings.as_string(offset)])


def _chosen(features: tuple[Feature, ...], names: tuple[str, ...]) -> tuple[Feature, ...]:
    return tuple(feature for feature in features if feature.name in names)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return options
