"""Plan builds from and to buckets: what may not be written is refused, regions are compared, nothing stays behind."""

import json
from pathlib import Path

import pytest
from emulators.gcs import Emulator
from emulators.gcs_front import Request
from logs import plain_log, plain_spec, run, write_parquet, write_spec

from penstock_dataprep.storage.files import write_bytes
from penstock_dataprep.storage.find import described


def test_a_plan_from_and_to_a_bucket(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in write_parquet(plain_log(2000, seed=1), tmp_path / "log", files=2):
        write_bytes(f"{bucket}/log/{Path(path).name}", [Path(path).read_bytes()])
    before = set(described(f"{bucket}/**"))
    spec = write_spec(tmp_path / "spec.yaml", plain_spec(f"{bucket}/log/*.parquet"))
    assert run("plan", spec, "--out", f"{bucket}/data", "--json", "--", "--region=europe-west4") == 0
    plan = json.loads(capsys.readouterr().out)
    assert set(described(f"{bucket}/**")) == before
    assert plan["estimates"][0]["value"] == 2000
    assert f"{bucket}/data/log can be written" in plan["checks"]
    # The emulator's buckets are in the United States.
    assert "bucket of --out lies in US-CENTRAL1" in plan["checks"]
    assert any(warning.startswith("workers' --region: lies in europe-west4") for warning in plan["warnings"])


def test_a_bucket_that_may_not_be_written_is_refused(
    emulator: Emulator, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", plain_spec(write_parquet(plain_log(200, seed=1), tmp_path / "log")))

    def read_only(request: Request) -> int | None:
        return 403 if request.method != "GET" else None

    with emulator.front.rule(read_only):
        assert run("plan", spec, "--out", f"{bucket}/data") == 2
    assert f"{bucket}/data/log: permission denied" in capsys.readouterr().err
    assert run("plan", spec, "--out", "gs://no-such-bucket/data") == 2
    assert "there is no such bucket" in capsys.readouterr().err


def test_an_account_that_may_not_ask_for_the_region_can_plan(
    emulator: Emulator, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", plain_spec(write_parquet(plain_log(200, seed=1), tmp_path / "log")))
    with emulator.front.rule(lambda request: 403 if request.path.partition("?")[0].endswith(bucket[5:]) else None):
        assert run("plan", spec, "--out", f"{bucket}/data", "--json") == 0
    assert not any("lies in" in check for check in json.loads(capsys.readouterr().out)["checks"])
