"""Kill a worker process, or the build that started it: all end, nothing is published, and the next build goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from killing import files
from logs import build, plain_log, plain_spec, write_parquet, write_spec
from patience import wait_until

from penstock_dataprep.engine.workers import describe_death

PROCESSES = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
# Python runs this when it starts: of the two workers, one kills itself or the build once it has mapped a batch.
KILL = """
import os, signal, sys

def watch(event, arguments):
    if event == "os.rename" and "/done/map/" in str(arguments[1]):
        os.kill({victim}, signal.SIGKILL)

if os.environ.get("WORKER_ID", "").endswith("1"):
    sys.addaudithook(watch)
"""


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return plain_spec(write_parquet(plain_log(4000, seed=8), tmp_path / "log", files=6))


def killed(victim: str, document: dict[str, Any], folder: Path) -> tuple[int, str]:
    """Build in processes of which one is killed; once all have ended return the exit code and what was said."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(KILL.format(victim=victim))
    paths = os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    spec, out = write_spec(folder / "spec.yaml", document), folder / "datasets"
    command = [sys.executable, "-m", "penstock_dataprep.cli", "build", spec, "--out", str(out), "--", *PROCESSES]
    environment = {**os.environ, "PYTHONPATH": paths}
    with (folder / "said").open("wb") as said:
        building = subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)
    try:
        wait_until(lambda: building.poll() is not None and not is_at_work(building.pid))
    finally:
        if is_at_work(building.pid):
            os.killpg(building.pid, signal.SIGKILL)
        building.wait()
    assert list(out.glob("log/.scratch/*/done/stage/*"))
    assert not list(out.rglob("manifest.json"))
    return building.returncode, (folder / "said").read_text()


def is_at_work(group: int) -> bool:
    """Tell whether any process of a group runs; one that ended may stay listed where nobody asks how it ended."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, found = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(found) == group and state not in "ZX":
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "code"), [("os.getpid()", 1), ("os.getppid()", -signal.SIGKILL)])
def test_a_killed_worker_ends_the_build_and_a_killed_build_its_workers(
    victim: str, code: int, document: dict[str, Any], tmp_path: Path
) -> None:
    ended, said = killed(victim, document, tmp_path)
    assert ended == code, said
    if code == 1:
        assert f"penstock-data: {describe_death(-signal.SIGKILL)}\n" in said
        assert "Traceback" not in said
    built = build(document, tmp_path / "datasets")
    undisturbed = build(document, tmp_path / "undisturbed")
    assert built.manifest.digest == undisturbed.manifest.digest
    assert files(tmp_path / "datasets") == files(tmp_path / "undisturbed")


@pytest.mark.slow
def test_processes_give_the_bytes_of_threads(document: dict[str, Any], tmp_path: Path) -> None:
    build(document, tmp_path / "threads")
    build(document, tmp_path / "processes", PROCESSES)
    assert files(tmp_path / "processes") == files(tmp_path / "threads")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-9, "was killed by SIGKILL, most often the kernel's answer to a want of memory; nothing was published. Run"),
        (-11, "was killed by SIGSEGV; nothing was published. Run the same command again"),
        (1, "ended with exit code 1; nothing was published"),
    ],
)
def test_what_is_said_of_a_dead_worker(code: int, said: str) -> None:
    assert said in describe_death(code)
