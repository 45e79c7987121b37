"""Set up what every test relies on: the data folder, quiet TensorFlow, and a CI where nothing installed is skipped."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Read when TensorFlow is imported: the trainer stands on Keras 2, and start-up chatter hides test output.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

# A busy machine is slow now and then, which is no fault of the code under test; and what a test finds depends on the
# code alone, not on a seed or on what an earlier run left in .hypothesis. To look further:
# pytest --hypothesis-profile=explore
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("penstock", **PATIENT, derandomize=True, database=None)
settings.register_profile("explore", **PATIENT, max_examples=1000)
settings.load_profile("penstock")
NO_DATA = "no real data:"


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder of files that pin a format byte for byte."""
    return REPOSITORY / "tests" / "golden"


@pytest.fixture(scope="session")
def golden_bytes(golden: Path) -> Callable[[str], bytes]:
    """Return a function that reads a golden .hex file: bytes in hexadecimal, comments after a #."""

    def read(name: str) -> bytes:
        lines = (golden / name).read_text().splitlines()
        return bytes.fromhex("".join(line.partition("#")[0] for line in lines))

    return read


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the wheel of each member of the workspace; return their paths by member."""
    folder = tmp_path_factory.mktemp("wheels")
    built = {}
    for member in ("shared", "dataprep", "training"):
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / member]
        subprocess.run([*command, REPOSITORY / member], check=True, capture_output=True)
        (built[member],) = (folder / member).glob("*.whl")
    return built


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of the public data sets, or skip the test where it is absent."""
    folder = Path(os.environ.get("PENSTOCK_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"{NO_DATA} {folder} is not a folder; set PENSTOCK_DATA to where the public data sets are")
    return folder


@pytest.fixture(scope="session")
def emulators() -> Path:
    """Return the environment of the servers that stand in for the cloud, or skip the test where it is absent."""
    return _environment("PENSTOCK_EMULATORS", "emulators", "emulators")


@pytest.fixture(scope="session")
def peek_python() -> Path:
    """Return the Python of the environment with tensorflow-io, or skip the test where it is absent."""
    return _environment("PENSTOCK_PEEK", "peek", "tensorflow-io") / "bin" / "python"


@pytest.fixture(scope="session")
def dataflow_python() -> Path:
    """Return the Python of the environment with Dataflow's client, or skip the test where it is absent."""
    return _environment("PENSTOCK_DATAFLOW", "dataflow", "client of Dataflow") / "bin" / "python"


@pytest.fixture(scope="session")
def tpu_compiler() -> Path:
    """Return the environment with the TPU compiler, or skip the test where it is absent."""
    return _environment("PENSTOCK_TPU", "tpu", "TPU compiler")


def _environment(variable: str, target: str, what: str) -> Path:
    """Return the folder of a Python environment that a target of the Makefile makes, or skip the test."""
    folder = Path(os.environ.get(variable, REPOSITORY / f".{target}"))
    if not (folder / "bin" / "python").exists():
        pytest.skip(f"no {what}: {folder} is no environment; run make {target}, or set {variable}")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Fail a skipped test under PENSTOCK_CI=1, where everything but the public data sets is installed."""
    report = yield
    excused = "PENSTOCK_DATA" in str(report.longrepr) or hasattr(report, "wasxfail")
    if report.skipped and os.environ.get("PENSTOCK_CI") == "1" and not excused:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but CI installs all it needs: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """Fail a module that skips itself at collection under PENSTOCK_CI=1, as above."""
    report = yield
    if report.skipped and os.environ.get("PENSTOCK_CI") == "1" and "PENSTOCK_DATA" not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, but CI installs all it needs: {report.longrepr}"
    return report
