import numpy as np
import pytest
import tensorflow as tf

from penstock_training.fitting import waiting
from penstock_training.fitting.waiting import timed_next

# The first steps are timed one by one, and one in so many later ones for all of them: 4 + 2 x 7 steps.
STEPS = 15
TIMED_STEPS = 18
SECONDS = 0.5


class Clock:
    """Stand for the clock of a machine that does everything at once but what takes SECONDS here."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        """Return the time."""
        return self.seconds

    def take(self, number: tf.Tensor) -> tf.Tensor:
        """Return the number after SECONDS."""

        def taken(number: np.ndarray) -> np.ndarray:
            self.seconds += SECONDS
            return number

        return tf.reshape(tf.numpy_function(taken, [number], tf.int64), [])


@pytest.mark.parametrize(("slow_input", "slow_step"), [(True, False), (False, True), (True, True)])
def test_waiting_is_counted_and_work_is_not(slow_input: bool, slow_step: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    in_turn = tf.data.Options()
    in_turn.autotune.enabled = False  # It may make batches before they are asked for.
    numbers = tf.data.Dataset.range(STEPS + 1)
    batches = iter((numbers.map(clock.take) if slow_input else numbers).with_options(in_turn))
    total = tf.Variable(0, dtype=tf.int64)

    @tf.function
    def run(batches: "tf.data.Iterator[tf.Tensor]", steps: tf.Tensor) -> tf.Tensor:
        waited = tf.constant(0.0, tf.float64)
        for step in tf.range(steps):
            number, seconds = timed_next(batches, step)
            waited += seconds
            total.assign_add(clock.take(number) if slow_step else number)
        return waited

    tf.config.experimental.enable_op_determinism()
    run(batches, tf.constant(1))
    waited = float(run(batches, tf.constant(STEPS)))
    assert int(total) == sum(range(STEPS + 1))
    assert waited == (TIMED_STEPS * SECONDS if slow_input else 0)
