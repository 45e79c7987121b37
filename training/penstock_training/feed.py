"""Feed batches of a split: training batches in the epoch's order, evaluation batches in the shards' order.

Blocks in the epoch's order -> read, check and decode each -> windows of rows -> permute the rows of each window ->
batches. Every step is stateless, so that parallel calls change nothing, and a step's place is computed by
penstock_training.order.
"""

import tensorflow as tf

from penstock_shared.features import Feature
from penstock_shared.manifest import Manifest
from penstock_training.dataset import Dataset
from penstock_training.decode import DECODERS, Values
from penstock_training.order import BlockTable, epoch_order, start_of_step, window_rows, window_seed
from penstock_training.pack import Packed, Packing

WEIGHT = "row.weight"
# Calls at a time, measured best on few cores (benchmarks/feed.py); more hide a slow storage but fight for the cache.
PARALLEL_BLOCKS = 4
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
        self._paths = [dataset.path(shard) for shard in dataset.split(split_name).shards]
        self._manifest = manifest
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
        paths = tf.constant(self._paths)

        def read(shard: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, rows: tf.Tensor, skip: tf.Tensor) -> Packed:
            named = read_block(self._manifest, paths[shard], offset, size, rows)
            packed: Packed = tf.nest.map_structure(lambda tensor: tensor[skip:], self._packing.pack(named))
            return packed

        return places.map(read, num_parallel_calls=PARALLEL_BLOCKS, deterministic=True)

    def _unpack(self, *packed: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._packing.unpack(packed, self.batch_rows)


def read_block(
    manifest: Manifest, path: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, rows: tf.Tensor
) -> dict[str, Values]:
    """Read one run of rows and return its columns by feature name; all arguments but the manifest are scalars.

    `offset` and `size` are int64 bytes and `rows` int32. Raises DataLossError when a checksum fails, and
    InvalidArgumentError when the rows are not those that the index promises.
    """
    # tf.data.TFRecordDataset has no byte_offsets; the op beneath it has. A buffer of the run's size makes it one read.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None], compression_type="", buffer_size=size, byte_offsets=offset[None]
    )
    records = 1 if manifest.layout.kind == "blocks" else tf.cast(rows, tf.int64)
    run = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(records)
    where = tf.strings.join([path, " at byte ", tf.strings.as_string(offset)])
    columns = DECODERS[manifest.layout.kind](run.batch(records).get_single_element(), manifest.features, rows, where)
    return {feature.name: column for feature, column in zip(manifest.features, columns, strict=True)}


def _chosen(features: tuple[Feature, ...], names: tuple[str, ...]) -> tuple[Feature, ...]:
    return tuple(feature for feature in features if feature.name in names)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return options
