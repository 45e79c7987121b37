import time

import numpy as np
import pytest
import tensorflow as tf

from penstock_training.fitting.waiting import timed_next

# The first steps are timed one by one, and one in so many later ones for all of them: 4 + 2 x 7 steps.
STEPS = 15
TIMED_STEPS = 18
SECONDS = 0.02


def slept(number: np.ndarray) -> np.ndarray:
    time.sleep(SECONDS)
    return number


def sleep(number: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.numpy_function(slept, [number], tf.int64), [])


@pytest.mark.parametrize(("slow_input", "slow_step"), [(True, False), (False, True)])
def test_waiting_is_counted_and_work_is_not(slow_input: bool, slow_step: bool) -> None:
    numbers = tf.data.Dataset.range(STEPS + 1)
    batches = iter(numbers.map(sleep) if slow_input else numbers)
    total = tf.Variable(0, dtype=tf.int64)

    @tf.function
    def run(batches: "tf.data.Iterator[tf.Tensor]", steps: tf.Tensor) -> tf.Tensor:
        waited = tf.constant(0.0, tf.float64)
        for step in tf.range(steps):
            number, seconds = timed_next(batches, step)
            waited += seconds
            total.assign_add(sleep(number) if slow_step else number)
        return waited

    tf.config.experimental.enable_op_determinism()
    run(batches, tf.constant(1))
    waited = float(run(batches, tf.constant(STEPS)))
    assert int(total) == sum(range(STEPS + 1))
    # All of it, or nothing but what a busy machine adds to a step.
    assert waited > 0.8 * TIMED_STEPS * SECONDS if slow_input else waited < STEPS * SECONDS / 2
