"""Start the emulators that a job on Dataflow meets: tables, buckets, and Dataflow's API with workers of its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "dataprep"), str(TESTS / "bigquery")]

from emulators import gcs  # noqa: E402
from emulators.dataflow import Dataflow  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    """Pass over what Beam says about itself; all other warnings stay errors."""
    for noise in ("ignore::FutureWarning:google", "ignore::DeprecationWarning:apache_beam"):
        config.addinivalue_line("filterwarnings", noise)


@pytest.fixture(scope="module")
def tables(emulators: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Emulator"]:  # noqa: F821
    """Run BigQuery's emulator, and point this process and those it starts to it."""
    from emulator import Emulator
    from front import Front

    held = Emulator(emulators, tmp_path_factory.mktemp("bigquery"))
    front = Front(held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGQUERY_EMULATOR_HOST", held.rest)
        patch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", front.address)
        patch.setenv("GOOGLE_CLOUD_PROJECT", "test")
        yield held
    front.stop()
    held.stop()


@pytest.fixture(scope="module")
def bucket(emulators: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run Cloud Storage's emulator, point this process and those it starts to it, and return a bucket's URL."""
    folder = tmp_path_factory.mktemp("gcs")
    with gcs.running(emulators, folder) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", running.front.url)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield running.make_bucket("dataflow")


@pytest.fixture(scope="module")
def dataflow(dataflow_python: Path, bucket: str) -> Iterator[Dataflow]:
    """Run the stand-in for Dataflow, of which this process and those it starts have credentials."""
    running = Dataflow(dataflow_python, os.environ["STORAGE_EMULATOR_HOST"])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
            patch.setenv(name, f"127.0.0.1:{running.server_port}")
        yield running
    running.stop()
