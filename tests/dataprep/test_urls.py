"""Build and verify through URLs: a file:// URL is a local path, and memory:// stands for any bucket."""

import hashlib
import json
from pathlib import Path

import fsspec
import pytest
from logs import left_behind, plain_log, plain_spec, run, write_parquet, write_spec

import penstock_dataprep
from penstock_dataprep.storage.lock import CLAIM_NAME, claimed, exclusive
from penstock_dataprep.storage.scratch import scratch_root
from penstock_shared import UserMistake


@pytest.mark.parametrize("scheme", ["file://{}", "memory://{}"])
def test_a_dataset_may_live_behind_a_url(scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (log,) = write_parquet(plain_log(500, seed=2), tmp_path / "log")
    spec = write_spec(tmp_path / "spec.yaml", plain_spec(f"file://{log}"))
    root = scheme.format(tmp_path / "datasets")
    assert run("build", spec, "--out", root) == 0
    manifest = capsys.readouterr().out.splitlines()[-1]
    assert run("verify", manifest) == 0
    assert run("show", manifest, "--json") == 0
    assert run("list", root, "--json") == 0
    output = capsys.readouterr().out
    (listed,) = json.loads(output[output.rindex("\n[\n") :])
    assert listed["manifest"] == manifest
    system, inner = fsspec.core.url_to_fs(root)
    assert not [path for path in system.find(inner) if ".scratch" in path]
    assert run("build", spec, "--out", root) == 0
    assert "reused" in capsys.readouterr().out


def test_scratch_files_may_lie_elsewhere_but_the_lock_is_the_datasets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", plain_spec(write_parquet(plain_log(500, seed=2), tmp_path / "log")))
    out, scratch = tmp_path / "datasets", tmp_path / "scratch"
    assert run("build", spec, "--out", out, "--scratch", scratch) == 0
    (manifest,) = out.glob("log/*/manifest.json")
    assert left_behind(scratch) == []
    assert not (out / "log" / ".scratch").exists()
    manifest.unlink()
    with exclusive(str(out / "log" / ".scratch" / manifest.parent.name)):
        assert run("build", spec, "--out", out, "--scratch", tmp_path / "other") == 2
    assert "another build of this version is running" in capsys.readouterr().err


def test_two_versions_of_the_program_do_not_write_to_one_version_of_a_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", plain_spec(write_parquet(plain_log(100, seed=2), tmp_path / "log")))
    root = f"memory://{tmp_path}/claimed"
    assert run("build", spec, "--out", root) == 0
    manifest = capsys.readouterr().out.splitlines()[-1]
    system, inner = fsspec.core.url_to_fs(manifest)
    assert not [path for path in system.find(inner.rpartition("/")[0]) if path.endswith(CLAIM_NAME)]
    system.rm(inner)
    with pytest.raises(KeyboardInterrupt), claimed(manifest.rpartition("/")[0], "0.0.9"):
        raise KeyboardInterrupt
    assert run("build", spec, "--out", root) == 2
    assert f"penstock-data 0.0.9 has begun this version, and this is {penstock_dataprep.__version__}" in (
        capsys.readouterr().err
    )
    monkeypatch.setattr(penstock_dataprep, "__version__", "0.0.9")
    assert run("build", spec, "--out", root) == 0
    assert system.exists(inner)


@pytest.mark.parametrize(
    ("base", "runner", "chosen", "expected"),
    [
        ("/d/log", "FnApiRunner", None, "/d/log/.scratch"),
        ("/d/log", "DataflowRunner", None, "/d/log/.scratch"),
        ("gs://b/log", "DataflowRunner", None, "gs://b/log/.scratch"),
        ("gs://b/log", "FnApiRunner", None, "/cache/penstock/scratch/log-0e2f"),
        ("gs://b/log", "direct", None, "/cache/penstock/scratch/log-0e2f"),
        ("gs://b/log", "apache_beam.runners.DirectRunner", None, "/cache/penstock/scratch/log-0e2f"),
        ("gs://b/log", "FnApiRunner", "/fast", "/fast/log-0e2f"),
        ("gs://b/log", "DataflowRunner", "gs://c/tmp", "gs://c/tmp/log-0e2f"),
    ],
)
def test_where_scratch_files_lie(
    base: str, runner: str, chosen: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    digest = hashlib.sha256(base.encode()).hexdigest()[:12]
    assert scratch_root(base, runner, chosen) == expected.replace("0e2f", digest)


def test_workers_elsewhere_need_scratch_files_that_they_find() -> None:
    with pytest.raises(UserMistake, match="--scratch /fast: workers of DataflowRunner are on other machines"):
        scratch_root("gs://b/log", "DataflowRunner", "/fast")
