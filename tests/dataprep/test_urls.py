"""Build and verify through URLs: a file:// URL is a local path, and memory:// stands for any bucket."""

import json
from pathlib import Path

import fsspec
import pytest
from logs import plain_log, plain_spec, run, write_parquet, write_spec


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
