"""List, compare and clean up versions, through the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from logs import Built, build, plain_log, plain_spec, run, write_parquet

from penstock_dataprep.statistics.drift import stability_index
from penstock_dataprep.statistics.histogram import Histogram
from penstock_dataprep.storage.lock import exclusive
from penstock_shared.sketches import HistogramSketch


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built, Built]:
    """Build two versions: the second has other ratings, half of them missing, and another seed."""
    folder = tmp_path_factory.mktemp("catalog")
    table = plain_log(1500, seed=4)
    columns = {"rating": {"dtype": "float32"}}
    base = plain_spec(write_parquet(table, folder / "a"))
    before = build({**base, "columns": {**base["columns"], **columns}}, folder / "datasets")
    ratings = [None if row % 2 else 5.0 - value / 5 for row, value in enumerate(table["rating"].to_pylist())]
    moved = table.set_column(2, "rating", pa.array(ratings, pa.float32()))
    base = plain_spec(write_parquet(moved, folder / "b"), shuffle={"seed": 18})
    after = build({**base, "columns": {**base["columns"], **columns}}, folder / "datasets")
    return folder / "datasets", before, after


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert run(*arguments) == 0
    return capsys.readouterr().out


def test_versions_are_listed(versions: tuple[Path, Built, Built], capsys: pytest.CaptureFixture[str]) -> None:
    root, before, after = versions
    text = printed(capsys, "list", root)
    assert all(held.manifest.version in text for held in (before, after))
    listed = json.loads(printed(capsys, "list", root, "--json"))
    assert {entry["version"] for entry in listed} == {before.manifest.version, after.manifest.version}
    assert {entry["digest"] for entry in listed} == {before.manifest.digest, after.manifest.digest}
    assert listed[0]["rows"] == before.manifest.accounting.written


def test_a_version_does_not_differ_from_itself(
    versions: tuple[Path, Built, Built], capsys: pytest.CaptureFixture[str]
) -> None:
    _, before, _ = versions
    found = json.loads(printed(capsys, "diff", before.path, before.path, "--json"))
    assert found["differences"] == []
    assert found["drift"]["rating"]["stability_index"] == 0


def test_differences_and_drift_are_told(
    versions: tuple[Path, Built, Built], capsys: pytest.CaptureFixture[str]
) -> None:
    _, before, after = versions
    found = json.loads(printed(capsys, "diff", before.path, after.path, "--json"))
    changed = {entry["what"]: (entry["before"], entry["after"]) for entry in found["differences"]}
    assert changed["spec.shuffle.seed"] == (17, 18)
    assert "splits.train.rows" not in changed
    rating, item = found["drift"]["rating"], found["drift"]["item_id"]
    assert rating["null_share"] == [0.0, pytest.approx(0.5, abs=0.01)]
    assert rating["stability_index"] > 0.25
    assert item["stability_index"] is None
    assert item["oov_share"][0] == pytest.approx(item["oov_share"][1], abs=0.01)
    assert "stability index" in printed(capsys, "diff", before.path, after.path)


def histogram(values: np.ndarray) -> HistogramSketch:
    counted = Histogram.of(values.astype(np.int64), 256)
    return HistogramSketch(
        shift=counted.shift, buckets=tuple(counted.buckets.tolist()), counts=tuple(counted.counts.tolist())
    )


@pytest.mark.parametrize(("moved_by", "low", "high"), [(0, 0, 0.01), (100, 0.005, 0.1), (1500, 0.5, 10)])
def test_the_stability_index_grows_with_the_shift(moved_by: int, low: float, high: float) -> None:
    rng = np.random.default_rng(1)
    before, after = rng.normal(0, 1000, 20_000), rng.normal(moved_by, 1000, 20_000)
    assert low <= stability_index(histogram(before), histogram(after)) <= high


def some_versions(folder: Path) -> tuple[Path, list[Built]]:
    files = write_parquet(plain_log(300, seed=9), folder / "log")
    root = folder / "datasets"
    return root, [build(plain_spec(files, shuffle={"seed": seed}), root) for seed in range(3)]


def test_nothing_published_is_garbage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, _ = some_versions(tmp_path)
    assert "would delete (--delete does) 0 files" in printed(capsys, "gc", root)


def test_leftovers_are_named_and_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, built = some_versions(tmp_path)
    unpublished = root / "log" / "000000000000" / "train" / "00000-of-00001.tfrecord"
    scratch = root / "log" / ".scratch" / "000000000000-0.1.0" / "staged" / "x"
    for path in (unpublished, scratch):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"left")
    named = printed(capsys, "gc", root)
    assert "never published" in named
    assert "scratch of a build that did not end" in named
    assert unpublished.exists()
    assert "deleted 2 files, 8 bytes" in printed(capsys, "gc", root, "--delete")
    assert not (root / "log" / ".scratch").exists()
    assert not unpublished.parents[1].exists()
    for held in built:
        assert run("verify", held.path) == 0


def test_what_a_running_build_works_on_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, _ = some_versions(tmp_path)
    folder = root / "log" / "000000000000"
    folder.mkdir()
    (folder / "shard").write_bytes(b"busy")
    with exclusive(str(root / "log" / ".scratch" / "000000000000-0.1.0")):
        printed(capsys, "gc", root, "--delete")
        assert (folder / "shard").exists()
    printed(capsys, "gc", root, "--delete")
    assert not folder.exists()


def test_versions_out_of_retention_go_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, built = some_versions(tmp_path)
    order = [entry["version"] for entry in json.loads(printed(capsys, "list", root, "--json"))]
    assert "version out of retention" in printed(capsys, "gc", root, "--keep", 1)
    printed(capsys, "gc", root, "--keep", 1, "--delete")
    left = {held.manifest.version: held.path.parent.exists() for held in built}
    assert left == {version: version == order[-1] for version in order}
    assert run("verify", next(held.path for held in built if held.manifest.version == order[-1])) == 0


def test_keeping_no_version_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gc", tmp_path, "--keep", 0) == 2
    assert "--keep: found 0, expected at least 1" in capsys.readouterr().err
    assert run("list", tmp_path / "absent") == 2
