"""Kill builds with SIGKILL, and see that the next one goes on from what was finished, to the same bytes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from killing import Request, files

from penstock_dataprep.cli import main
from penstock_dataprep.generate import generate
from penstock_dataprep.storage.files import is_whole
from penstock_shared import load_manifest
from penstock_shared.splits import Shard

ROWS = 100_000


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    generate(str(folder / "log"), ROWS, 5_000, 1_000, 3, 4)
    document = {
        "name": "resumed",
        "source": {"files": str(folder / "log" / "*.parquet"), "format": "parquet"},
        "columns": {
            "user_id": {"role": "user", "vocabulary": {}},
            "item_id": {"role": "item", "vocabulary": {"min_count": 2}},
            "rating": {"role": "label", "null": "reject"},
            "timestamp": {"role": "time"},
        },
        "split": {"by": "time", "test_fraction": 0.1},
        "output": {"rows_per_block": 256, "shard_bytes": "100KB"},
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def undisturbed(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("undisturbed")
    assert main(["build", str(spec), "--out", str(root)]) == 0
    return files(root)


def start(spec: Path, root: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "penstock_dataprep.cli", "build", str(spec), "--out", str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill_once_noted(spec: Path, root: Path, step: str, count: int = 1) -> None:
    """Start a build and have it killed as soon as it has noted so many finished pieces of a step."""
    request = Request(yaml.safe_load(spec.read_text()), root)
    assert request.run_until_there(f"resumed/.scratch/*/done/{step}/*.json", count) == -signal.SIGKILL
    assert not list(root.rglob("manifest.json"))


@pytest.mark.parametrize("step", ["read", "stage", "map", "write"])
def test_a_killed_build_is_finished_to_the_same_bytes(
    step: str, spec: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    kill_once_noted(spec, tmp_path, step)
    assert main(["build", str(spec), "--out", str(tmp_path)]) == 0
    assert files(tmp_path) == undisturbed


def test_whole_shards_are_kept_and_broken_ones_written_again(
    spec: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    kill_once_noted(spec, tmp_path, "write", 3)
    base = tmp_path / "resumed"
    noted = [json.loads(path.read_text())["shard"] for path in base.glob(".scratch/*/done/write/*.json")]
    assert len(noted) >= 2
    shards = [Shard(**entry) for entry in noted]
    assert all(is_whole(str(base), shard) for shard in shards)
    broken, *kept = [base / shard.path for shard in shards]
    flipped = bytearray(broken.read_bytes())
    flipped[100] ^= 1
    broken.write_bytes(flipped)
    written_at = {path: path.stat().st_mtime_ns for path in kept}
    assert main(["build", str(spec), "--out", str(tmp_path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == written_at
    assert files(tmp_path) == undisturbed
    assert not (base / ".scratch").exists()


def test_two_builds_of_one_version_do_not_meet(spec: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """One of two builds wins; the other says so, or finds the dataset published."""
    both = [start(spec, tmp_path) for _ in range(2)]
    said = [building.communicate() for building in both]
    codes = sorted(building.returncode for building in both)
    assert codes in ([0, 0], [0, 2])
    if codes == [0, 2]:
        assert any(b"another build of this version is running" in errors for _, errors in said)
    assert files(tmp_path) == undisturbed
    (manifest,) = tmp_path.rglob("manifest.json")
    assert load_manifest(manifest.read_bytes(), str(manifest)).accounting.read == ROWS
