"""Take virtual devices of the processor for the chips of a TPU with SparseCores, as far as TensorFlow lets them be it.

Its layer for SparseCores keeps tables and slots in variables of these devices, in the layout of SparseCores, and writes
and reads them. Only what looks rows up and updates them needs a TPU.
"""

import weakref
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from penstock_training.strategies.placement import Placement
from penstock_training.strategies.tpu import with_cores

FEATURES = tf.tpu.experimental.HardwareFeature.EmbeddingFeature


class Chips(tf.distribute.TPUStrategy):
    """Be the strategy of a TPU of `chips` chips with `cores` SparseCores each."""

    def __init__(self, chips: int, cores: int) -> None:
        """Mirror variables as TPUs do, and name the devices as the chips."""
        devices = [f"CPU:{number}" for number in range(chips)]
        extended = tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice()).extended
        tf.distribute.Strategy.__init__(self, extended)
        extended._container_strategy_weakref = weakref.ref(self)
        extended._tpu_devices = np.array([[f"/job:localhost/replica:0/task:0/device:{name}"] for name in devices])
        extended.tpu_hardware_feature = hardware(FEATURES.V2, cores)


def hardware(feature: FEATURES, cores: int) -> SimpleNamespace:
    """Return what TensorFlow's HardwareFeature says of chips."""
    return SimpleNamespace(embedding_feature=feature, num_embedding_devices_per_chip=cores)


def chips(count: int, cores: int, least_rows: int) -> Placement:
    """Return the placement on `count` chips with `cores` SparseCores each, for tables of at least `least_rows` rows."""
    strategy = Chips(count, cores)
    placed = with_cores(strategy, strategy.extended.tpu_hardware_feature)
    return Placement(strategy, least_rows_on_cores=least_rows, sparse_cores_per_chip=placed.sparse_cores_per_chip)
