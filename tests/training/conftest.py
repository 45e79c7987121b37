"""Make the tests' own modules importable and write the datasets that several tests share."""

import sys
from pathlib import Path

import numpy as np
import pytest

import penstock_training  # noqa: F401  (sets what TensorFlow reads from the environment)

sys.path.insert(0, str(Path(__file__).parent))

REPLICAS = 4


def divide_the_processor() -> None:
    """Make virtual devices for tests of replicas; possible only before TensorFlow is first used."""
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * REPLICAS)


divide_the_processor()


def pytest_configure(config: pytest.Config) -> None:
    """Pass over what TensorFlow and Keras 2 say about themselves; all other warnings stay errors."""
    for noise in (
        "ignore:.*distutils Version classes are deprecated:DeprecationWarning",
        "ignore:.*np.bool8.*:DeprecationWarning",
        "ignore:.*ml_dtypes.*:DeprecationWarning",
        "ignore:.*imp module.*:DeprecationWarning",
        "ignore:.*low_dimensional_packing_status. Expected an int.*:DeprecationWarning",
    ):
        config.addinivalue_line("filterwarnings", noise)


@pytest.fixture(scope="session")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a dataset of users with a taste: int64 users, string items, ratings; return its manifest's path."""
    from tiny_events import write_events

    return write_events(tmp_path_factory.mktemp("events"))


@pytest.fixture
def own_events(tmp_path: Path) -> Path:
    """Write the same dataset for one test, which may damage it."""
    from tiny_events import write_events

    return write_events(tmp_path / "data")


@pytest.fixture
def random() -> np.random.Generator:
    """Return a seeded generator."""
    return np.random.default_rng(7)
