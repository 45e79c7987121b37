"""Kill builds without mercy: nothing half built is ever readable, and the next build gives the same bytes."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from logs import build, contents, left_behind, rich_log, rich_spec, write_parquet, write_spec

from penstock_dataprep.verify import verify
from penstock_shared import load_manifest

KILLS = 4


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_parquet(rich_log(20_000, seed=9), tmp_path_factory.mktemp("killed") / "log", files=4)


def test_a_killed_build_leaves_nothing_to_read_and_can_be_run_again(files: list[str], tmp_path: Path) -> None:
    document = rich_spec(files)
    undisturbed = build(document, tmp_path / "undisturbed")
    out = tmp_path / "datasets"
    spec = write_spec(tmp_path / "spec.yaml", document)
    version = out / "log" / undisturbed.manifest.version
    moments = random.Random(1)
    interrupted = 0
    for _ in range(KILLS):
        command = [sys.executable, "-m", "penstock_dataprep.cli", "build", spec, "--out", str(out)]
        killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # The build proper starts when its scratch folder appears; about a second later it is done.
        deadline = time.monotonic() + 60
        while killed.poll() is None and not list(out.glob("log/.scratch/*/*")) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.8))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        path = version / "manifest.json"
        if path.exists():  # It was faster than the kill: then the dataset is whole.
            verify(load_manifest(path.read_bytes(), str(path)), str(path))
            shutil.rmtree(version)
        else:
            interrupted += 1
    assert interrupted > 0
    again = build(document, out)
    assert contents(again) == contents(undisturbed)
    assert again.manifest.digest == undisturbed.manifest.digest
    assert left_behind(out / "log" / ".scratch") == []
    assert [path for path in left_behind(out) if path.endswith(".tmp")] == []
    names = {str(path.relative_to(version)) for path in version.rglob("*")}
    assert names == {str(path.relative_to(undisturbed.path.parent)) for path in undisturbed.path.parent.rglob("*")}


def test_what_a_killed_writer_left_is_not_published(files: list[str], tmp_path: Path) -> None:
    document = rich_spec(files)
    version = build(document, tmp_path / "elsewhere").manifest.version
    half_written = tmp_path / "datasets" / "log" / version / "train" / "00000-of-00004.tfrecord.0123456789abcdef.tmp"
    half_written.parent.mkdir(parents=True)
    half_written.write_bytes(b"half")
    built = build(document, tmp_path / "datasets")
    assert built.path.parent.name == version
    assert not half_written.exists()
