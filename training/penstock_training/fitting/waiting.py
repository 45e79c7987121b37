"""Measure how long training waits for its input, in the graph that trains."""

import time
from typing import Any

import numpy as np
import tensorflow as tf

# A look at the clock takes some 30 us: of the steps of a call, the first are all timed, which may have to wait for a
# whole window, and then one in so many for all of them. The number shares no factor with usual windows.
TIMED_FIRST = 4
TIMED_EVERY = 7


def timed_next(batches: "tf.data.Iterator[Any]", step: tf.Tensor) -> tuple[Any, tf.Tensor]:
    """Return the next batch, and the seconds, float64, that this step and the untimed ones it stands for waited.

    For use inside a tf.function; `step` counts the steps of a call. What is done with batches is not counted: it is
    over before the next one is asked for, and has not begun before the last look at the clock.
    """
    weight = tf.where(step < TIMED_FIRST, 1, tf.where(step % TIMED_EVERY == 0, TIMED_EVERY, 0))
    before = _clock(weight)
    with tf.control_dependencies([before]):
        asked = _clock(weight)
    with tf.control_dependencies([asked]):
        batch = next(batches)
    with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
        arrived = _clock(weight)
    with tf.control_dependencies([arrived]):
        # Of batches for several devices, each one's.
        batch = tf.nest.map_structure(tf.identity, batch, expand_composites=True)
    # Less what a look at the clock takes, which is milliseconds where threads wait for a processor.
    return batch, ((arrived - asked) - (asked - before)) * tf.cast(weight, tf.float64)


def _clock(weight: tf.Tensor) -> tf.Tensor:
    # tf.timestamp refuses to run where operations have to be deterministic, as they are in training.
    def now() -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(lambda: np.float64(time.perf_counter()), [], tf.float64), [])

    return tf.cond(weight > 0, now, lambda: tf.constant(0.0, tf.float64))
