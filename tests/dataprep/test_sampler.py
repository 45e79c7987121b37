"""Hold Beam's sampler to the period that keeps stages from waiting for it."""

from apache_beam.runners.worker.statesampler import StateSampler
from apache_beam.utils.counters import CounterFactory

from penstock_dataprep.engine.sampler import SAMPLING_PERIOD_MS, sample_often


def test_samplers_that_beam_makes_wake_up_often() -> None:
    sample_often()
    # As Beam makes the one of each stage: without a period.
    assert StateSampler("stage", CounterFactory()).sampling_period_ms == SAMPLING_PERIOD_MS
