"""Start the BigQuery emulator, with a front that breaks where a test wants it, and point the code at them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "dataprep"))


def pytest_configure(config: pytest.Config) -> None:
    """Pass over what Beam says about itself; all other warnings stay errors."""
    for noise in ("ignore::FutureWarning:google", "ignore::DeprecationWarning:apache_beam"):
        config.addinivalue_line("filterwarnings", noise)


@pytest.fixture(scope="session")
def emulator(emulators: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Emulator"]:  # noqa: F821
    """Run an emulator for all tests."""
    from emulator import Emulator

    running = Emulator(emulators, tmp_path_factory.mktemp("emulator"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def only_front(emulator: "Emulator") -> Iterator["Front"]:  # noqa: F821
    """Run a front for all tests."""
    from front import Front

    running = Front(emulator)
    yield running
    running.stop()


@pytest.fixture
def front(emulator: "Emulator", only_front: "Front", monkeypatch: pytest.MonkeyPatch) -> "Front":  # noqa: F821
    """Point the code at the emulator, for tables, and the front, for rows; the front has no faults yet."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", emulator.rest)
    monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", only_front.address)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
    only_front.reset()
    return only_front
