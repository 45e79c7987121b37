"""Train on the TPU of this machine, or on the one that TPU_NAME names."""

import importlib.util
import os
import sys
from typing import Any

import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_training.strategies.placement import Placement
from penstock_training.tpu.stand_in import LEAST_ROWS_ON_CORES

VARIABLE = "TPU_NAME"
THIS_MACHINE = "local"
# What TensorFlow takes where a TPU does not say how many SparseCores a chip has.
UNTOLD_CORES = 4


def tpu(replicas: int | None) -> Placement:
    """Return a placement on all cores of a TPU; raises UserMistake where there is none."""
    if replicas is not None:
        raise UserMistake("--replicas: --strategy tpu takes all cores of the TPU; leave --replicas out")
    if importlib.util.find_spec("tensorflow_recommenders") is None:
        raise UserMistake(
            "--strategy tpu: TensorFlow Recommenders is not installed; run pip install 'penstock-training[tpu]'"
        )
    name = os.environ.get(VARIABLE, THIS_MACHINE)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name)
        if name != THIS_MACHINE:
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as fault:
        reason = str(fault).splitlines()[0].split(". ")[0]
        raise UserMistake(
            f"--strategy tpu: no TPU found at {name!r} ({reason}); run it on a TPU VM, or set {VARIABLE}; "
            "elsewhere leave --strategy out"
        ) from None
    strategy = tf.distribute.TPUStrategy(resolver)
    if strategy.extended.num_hosts > 1:
        raise UserMistake(
            f"--strategy tpu: the TPU has {strategy.extended.num_hosts} hosts, expected one; take a slice of one host"
        )
    return with_cores(strategy, strategy.extended.tpu_hardware_feature)


def with_cores(strategy: tf.distribute.TPUStrategy, hardware: Any) -> Placement:
    """Return the placement on chips with the embedding cores that TensorFlow's HardwareFeature says they have."""
    kinds = tf.tpu.experimental.HardwareFeature.EmbeddingFeature
    if hardware.embedding_feature == kinds.V1:
        return Placement(strategy, least_rows_on_cores=LEAST_ROWS_ON_CORES)
    if hardware.embedding_feature == kinds.V2:
        cores = hardware.num_embedding_devices_per_chip or UNTOLD_CORES
        return Placement(strategy, least_rows_on_cores=LEAST_ROWS_ON_CORES, sparse_cores_per_chip=cores)
    print("--strategy tpu: no embedding cores here; all tables are copied to each chip", file=sys.stderr)
    return Placement(strategy, least_rows_on_cores=sys.maxsize)
