"""Start the Cloud Storage emulator once, and let every test have buckets of its own."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "dataprep"), str(TESTS / "training")]

from emulators import gcs  # noqa: E402

NUMBERS = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Pass over what Beam says about itself and aiohttp of gcsfs; all other warnings stay errors."""
    for noise in (
        "ignore::FutureWarning:google",
        "ignore::DeprecationWarning:apache_beam",
        "ignore:Sending a large body directly with raw bytes:ResourceWarning",
    ):
        config.addinivalue_line("filterwarnings", noise)


@pytest.fixture(scope="session")
def server(emulators: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[gcs.Emulator]:
    """Run an emulator."""
    with gcs.running(emulators, tmp_path_factory.mktemp("gcs")) as running:
        yield running


@pytest.fixture(scope="module")
def emulator(server: gcs.Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[gcs.Emulator]:
    """Point this process and those it starts to the emulator, for the tests of one file.

    Other tests, of installing packages for one, must not find it in their environment.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**server.environment, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def bucket(emulator: gcs.Emulator) -> str:
    """Make a bucket and return its URL."""
    return emulator.make_bucket(f"bucket-{next(NUMBERS)}")
