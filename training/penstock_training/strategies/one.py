"""Train on one device of one machine: its first GPU, or its processor."""

import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_training.strategies.placement import Placement


def one(replicas: int | None) -> Placement:
    """Return the placement that TensorFlow starts with; raises UserMistake when several replicas are asked for."""
    if replicas not in (None, 1):
        raise UserMistake(f"--replicas {replicas}: one device holds one replica; add --strategy mirrored")
    return Placement(tf.distribute.get_strategy())
