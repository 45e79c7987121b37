"""Feed batches of a split: training batches in the epoch's order, evaluation batches in the shards' order.

Blocks in the epoch's order -> read, check and decode each, by the columns its shard was written with -> windows of
rows -> permute the rows of each window -> batches. Every step is stateless, so that parallel calls change nothing, and
a step's place is computed by penstock_training.data.order.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from penstock_shared.features import Feature
from penstock_shared.layout import Column
from penstock_training.data.compiled import compiled
from penstock_training.data.dataset import Dataset
from penstock_training.data.decode import DECODERS, widen
from penstock_training.data.lanes import (
    ONE_HOST,
    Host,
    Share,
    evaluation_range,
    evaluation_steps,
    share_of,
    window_ranges,
)
from penstock_training.data.order import (
    Pieces,
    cut,
    epoch_order,
    start_of_step,
    window_rows,
    window_seed,
)
from penstock_training.data.pack import Packed, Packing
from penstock_training.data.records import place_of, read_records
from penstock_training.storage import is_remote

WEIGHT = "row.weight"
# Calls at a time, measured best on few cores (benchmarks/feed.py); more fight for the cache, but hide the tens of
# milliseconds that a bucket takes for each block.
PARALLEL_BLOCKS = 4
PARALLEL_REMOTE_BLOCKS = 32
PARALLEL_WINDOWS = 3
PREFETCHED_BATCHES = 8
PLACES = (*[tf.TensorSpec([None], tf.int64)] * 3, *[tf.TensorSpec([None], tf.int32)] * 3)


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
        self.dataset, manifest = dataset, dataset.manifest
        self.blocks = dataset.block_table(split_name)
        self.batch_rows = batch_rows
        self._parallel_blocks = PARALLEL_REMOTE_BLOCKS if is_remote(dataset.folder) else PARALLEL_BLOCKS
        shards = dataset.split(split_name).shards
        self._paths = [dataset.path(shard) for shard in shards]
        self._manifest = manifest
        self._layouts, self._layout_of_shard = distinct_layouts([manifest.features_of(shard) for shard in shards])
        chosen = tuple(feature for feature in manifest.features if feature.name in feature_names)
        # Traced once for what shapes it, not for each epoch.
        self._pipeline = functools.cache(self._new_pipeline)
        self._packing = Packing.of_features(chosen, longest_list, _triples(manifest.layout.kind, self._layouts))

    def training_batches(
        self, seed: int, epoch: int, first_step: int, window_blocks: int, lanes: int = 1, host: Host = ONE_HOST
    ) -> tf.data.Dataset:
        """Return a host's part of the batches of `epoch` from `first_step` on, as dicts of tensors.

        A part has `batch_rows` / hosts rows; the parts of all hosts, one after another, are the batch, which is the
        same for any number of hosts. Raises UserMistake when lanes, hosts and `batch_rows` do not divide.
        """
        share = share_of(host, lanes, self.batch_rows)
        lane_batch_rows = self.batch_rows // lanes
        rows_per_window = window_rows(window_blocks, self._manifest.layout.rows_per_block, lane_batch_rows)
        window, skip_batches = start_of_step(rows_per_window, lane_batch_rows, first_step)
        blocks = self.blocks.take(epoch_order(len(self.blocks.rows), seed, epoch))
        ranges = window_ranges(share.lanes, lanes, int(blocks.rows.sum()), rows_per_window, window)
        numbers = (window, window + len(blocks.rows) + 1)
        make = self._pipeline(share, lane_batch_rows, rows_per_window)
        return make(_places(cut(blocks, *ranges)), numbers, window_seed(seed, epoch), skip_batches)

    def evaluation_batches(self, host: Host = ONE_HOST) -> tf.data.Dataset:
        """Return a host's rows, each once, in the shards' order; WEIGHT is 0 on rows that only fill up batches.

        Every host has the same number of batches, of `batch_rows` / hosts rows.
        """
        rows = int(self.blocks.rows.sum())
        steps = evaluation_steps(host.count, rows, self.batch_rows)
        batch_rows = self.batch_rows // host.count

        @tf.autograph.experimental.do_not_convert
        def pad(packed: Packed) -> dict[str, tf.Tensor]:
            rows = tf.shape(next(iter(packed.values())))[0]
            missing = batch_rows - rows
            filled = {
                name: tf.pad(tensor, [[0, missing]] + [[0, 0]] * (len(tensor.shape) - 1))
                for name, tensor in packed.items()
            }
            rows_held = {
                name: tf.ensure_shape(tensor, [batch_rows, *tensor.shape[1:]])
                for name, tensor in self._packing.unpack(filled).items()
            }
            return {**rows_held, WEIGHT: tf.cast(tf.range(batch_rows) < rows, tf.float32)}

        first, end = evaluation_range(host, rows)
        pieces = cut(self.blocks, np.array([first]), np.array([end]))
        batches = self._packed_rows(_places(pieces)).rebatch(batch_rows)
        # A host may have one row less than another, and so one batch less, or none.
        nothing = tf.nest.map_structure(
            lambda spec: tf.zeros([size or 0 for size in spec.shape], spec.dtype), batches.element_spec
        )
        whole = batches.concatenate(tf.data.Dataset.from_tensors(nothing).repeat()).take(steps)
        padded = whole.map(pad, num_parallel_calls=PARALLEL_WINDOWS, deterministic=True)
        return padded.prefetch(PREFETCHED_BATCHES).with_options(_options())

    def _new_pipeline(self, share: Share, lane_batch_rows: int, rows_per_window: int) -> Callable[..., tf.data.Dataset]:
        """Return a function from an epoch's places, range of windows, key and batches to pass over to its batches."""

        def batches(
            places: tuple[tf.Tensor, ...], numbers: tuple[tf.Tensor, tf.Tensor], key: tf.Tensor, skip: tf.Tensor
        ) -> tf.data.Dataset:
            @tf.autograph.experimental.do_not_convert
            def permute(window: tf.Tensor, packed: Packed) -> dict[str, tf.Tensor]:
                rows = tf.shape(next(iter(packed.values())))[0] // len(share.lanes)
                orders = [
                    tf.random.experimental.stateless_shuffle(
                        tf.range(rows), key ^ tf.stack([window, lane]), alg="philox"
                    )
                    for lane in share.lanes
                ]
                unpacked = self._permute(share_order(orders, share, lane_batch_rows), packed)
                return _as_rows(unpacked, share.rows)

            windows = self._packed_rows(places).rebatch(len(share.lanes) * rows_per_window)
            numbered = tf.data.Dataset.zip((tf.data.Dataset.range(*numbers, output_type=tf.int32), windows))
            permuted = numbered.map(permute, num_parallel_calls=PARALLEL_WINDOWS, deterministic=True)
            # Unlike unbatch, slices share the window's memory.
            cut_up = permuted.flat_map(tf.data.Dataset.from_tensor_slices)
            return cut_up.skip(skip).prefetch(PREFETCHED_BATCHES).with_options(_options())

        number = tf.TensorSpec([], tf.int64)
        signature = (PLACES, (number, number), tf.TensorSpec([2], tf.int32), number)
        held: Callable[..., tf.data.Dataset] = tf.function(batches, signature, autograph=False)
        return held

    @functools.cached_property
    def _permute(self) -> Callable[[tf.Tensor, Packed], dict[str, tf.Tensor]]:
        """Return a function that unpacks the rows of a window in an order."""

        def permute(order: tf.Tensor, packed: Packed) -> dict[str, tf.Tensor]:
            return self._packing.unpack({name: tf.gather(tensor, order) for name, tensor in packed.items()})

        # One function for all epochs, so that it is compiled once for each size of window.
        return compiled(permute)

    def _packed_rows(self, places: tuple[tf.Tensor, ...]) -> tf.data.Dataset:
        read = tf.data.Dataset.from_tensor_slices(places)
        return read.map(self._read, num_parallel_calls=self._parallel_blocks, deterministic=True)

    @functools.cached_property
    def _read(self) -> Callable[..., Packed]:
        """Return a function that reads some rows of a block; it is traced once, not for each epoch."""
        with tf.init_scope():  # whichever pipeline asks first
            paths, layouts = tf.constant(self._paths), tf.constant(self._layout_of_shard)

        def read(
            shard: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, rows: tf.Tensor, skip: tf.Tensor, keep: tf.Tensor
        ) -> Packed:
            records = read_records(self._manifest.layout.kind, paths[shard], offset, size, rows)
            where = place_of(paths[shard], offset)
            decoders = [functools.partial(self._pack, records, features, rows, where) for features in self._layouts]
            # Shards of one layout, which are most, are spared the choice.
            packed = decoders[0]() if len(decoders) == 1 else tf.switch_case(layouts[shard], decoders)
            return {name: tensor[skip : skip + keep] for name, tensor in packed.items()}

        held: Callable[..., Packed] = tf.function(read, autograph=False)
        return held

    def _pack(self, records: tf.Tensor, features: tuple[Feature, ...], rows: tf.Tensor, where: tf.Tensor) -> Packed:
        kind = self._manifest.layout.kind
        decoded = DECODERS[kind](records, features, rows, where)
        widened = [widen(values, whole, kind) for values, whole in zip(decoded, self._manifest.features, strict=True)]
        return self._packing.pack({feature.name: held for feature, held in zip(features, widened, strict=True)})


def _places(pieces: Pieces) -> tuple[np.ndarray, ...]:
    """Return where to read pieces, arrays with the types of PLACES, as `Feed._read` takes them one by one."""
    blocks = pieces.blocks
    wide = (blocks.shards, blocks.offsets, blocks.bytes)
    return (*wide, *(column.astype(np.int32) for column in (blocks.rows, pieces.skip, pieces.keep)))


def share_order(orders: list[tf.Tensor], share: Share, lane_batch_rows: int) -> tf.Tensor:
    """Return which rows a host takes of a window, in the order of its batches, int32 [batches * share.rows].

    `orders` are the permutations, int32 [rows], of each lane's rows; the window holds the lanes end to end.
    """
    lanes, rows = len(orders), tf.shape(orders[0])[0]
    batches = rows // lane_batch_rows
    places = orders[0][None] if lanes == 1 else tf.stack(orders) + rows * tf.range(lanes)[:, None]
    whole = tf.reshape(places[:, : batches * lane_batch_rows], [lanes, batches, lane_batch_rows])
    return tf.reshape(tf.transpose(whole[:, :, share.first_row : share.end_row], [1, 0, 2]), [-1])


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


def _triples(kind: str, layouts: list[tuple[Feature, ...]]) -> frozenset[str]:
    """Return the features that each shard stores as one u24 a row."""
    names = [
        {held.name for held in features if held.storage == "u24" and held.lengths is None and not held.shape}
        for features in layouts
    ]
    return frozenset(set.intersection(*names)) if names and kind == "blocks" else frozenset()


def _as_rows(tensors: dict[str, tf.Tensor], rows: int) -> dict[str, tf.Tensor]:
    """Return tensors of some times `rows` rows as [times, rows, ...]."""
    return {name: tf.reshape(tensor, [-1, rows, *tensor.shape[1:]]) for name, tensor in tensors.items()}


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return options
