"""Train on several devices of one machine, each holding a copy of all variables."""

import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_training.strategies.placement import Placement


def mirrored(replicas: int | None) -> Placement:
    """Return a placement on this machine's GPUs, the first `replicas` of them or all.

    On a machine without a GPU, `replicas` virtual devices share the processor: not faster, but the same arithmetic.
    Raises UserMistake where there are fewer than two devices.
    """
    gpus = [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices("GPU")]
    if not gpus and replicas is not None and replicas > 1:
        # They share one memory: a ring of messages between them would only cost time.
        operations = tf.distribute.ReductionToOneDevice()
        return Placement(tf.distribute.MirroredStrategy(_virtual_processors(replicas), operations))
    wanted = len(gpus) if replicas is None else replicas
    if wanted < 2 or len(gpus) < wanted:
        raise UserMistake(
            f"--strategy mirrored: found {len(gpus)} GPUs, expected at least {max(2, wanted)}; leave --strategy out to "
            "train on one device, to the same result up to the rounding of sums"
            + ("" if gpus else ", or try it on virtual devices of the processor with --replicas 2")
        )
    return Placement(tf.distribute.MirroredStrategy(gpus[:wanted]))


def _virtual_processors(count: int) -> list[str]:
    processor = tf.config.list_physical_devices("CPU")[0]
    held = tf.config.get_logical_device_configuration(processor)
    if held is None or len(held) < count:
        # Possible only before TensorFlow is first used in a process.
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    return [f"CPU:{number}" for number in range(count)]
