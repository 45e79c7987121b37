"""Refuse at once and in words what a bucket does not let us do, and say who is asked for it."""

from pathlib import Path

import fsspec
import pytest
from emulators.gcs import Emulator
from emulators.gcs_front import Request
from logs import plain_log, plain_spec, run, write_parquet, write_spec

from penstock_dataprep.storage.files import create_bytes, exists, is_whole, read_bytes, write_bytes
from penstock_shared.errors import PenstockError
from penstock_shared.files import File


@pytest.fixture
def spec(tmp_path: Path) -> str:
    return write_spec(tmp_path / "spec.yaml", plain_spec(write_parquet(plain_log(200, seed=1), tmp_path / "log")))


def test_a_bucket_that_is_not_there(spec: str, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = write_spec(tmp_path / "absent.yaml", plain_spec("gs://no-such-bucket/log/*.parquet"))
    empty = write_spec(tmp_path / "empty.yaml", plain_spec(f"{bucket}/log/*.parquet"))
    missing = write_spec(tmp_path / "missing.yaml", plain_spec(f"{bucket}/log/day.parquet"))
    for command, said in (
        (("build", spec, "--out", "gs://no-such-bucket/data"), "there is no such bucket; make it"),
        (("build", absent, "--out", tmp_path / "data"), "nothing matches gs://no-such-bucket/log/*.parquet"),
        (("build", empty, "--out", tmp_path / "data"), f"nothing matches {bucket}/log/*.parquet"),
        (("build", missing, "--out", tmp_path / "data"), f"{bucket}/log/day.parquet does not exist"),
        (("build", "gs://no-such-bucket/spec.yaml", "--out", bucket), "no such file; expected a spec"),
        (("verify", "gs://no-such-bucket/manifest.json"), "no such file; expected the path of a manifest.json"),
        (("list", "gs://no-such-bucket/data"), "no such folder"),
    ):
        assert run(*command) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "permission denied: tester does not have storage.objects access"), (401, "credentials were not accepted")],
)
def test_a_bucket_that_is_not_ours(
    status: int, said: str, emulator: Emulator, spec: str, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    private = write_spec(tmp_path / "private.yaml", plain_spec(f"{bucket}/log/*.parquet"))
    with emulator.front.rule(lambda request: status if f"/b/{bucket[5:]}" in request.path else None):
        for command in (
            ("build", spec, "--out", f"{bucket}/data"),
            ("build", private, "--out", tmp_path / "data"),
            ("verify", f"{bucket}/data/log/1/manifest.json"),
            ("list", bucket),
        ):
            assert run(*command) == 2
            assert said in capsys.readouterr().err


def test_a_bucket_that_may_only_be_read_is_refused_before_the_work(
    emulator: Emulator, spec: str, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(request: Request) -> int | None:
        return 403 if request.method != "GET" else None

    with emulator.front.rule(read_only), emulator.front.recorded() as requests:
        assert run("build", spec, "--out", f"{bucket}/data") == 2
    assert f"{bucket}/data/log: permission denied" in (said := capsys.readouterr().err)
    assert "roles/storage.objectUser" in said
    assert [request.method for request in requests if request.method != "GET"] == ["POST"]


def test_a_permission_lost_on_the_way_ends_the_build_in_words(
    emulator: Emulator, spec: str, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with emulator.front.rule(lambda request: 403 if request.name.endswith(".tfrecord") else None):
        assert run("build", spec, "--out", f"{bucket}/data") == 2
    assert "permission denied" in capsys.readouterr().err
    assert run("build", spec, "--out", f"{bucket}/data") == 0


@pytest.mark.parametrize("content", ['{"type": "service_account", "private_key": "s3cret"}', "s3cret", "[]"])
def test_credentials_that_are_none_are_refused_and_not_shown(
    content: str, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.json").write_text(content)
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": str(tmp_path / "key.json")})
    assert run("list", f"{bucket}/data") == 2
    said = capsys.readouterr().err
    assert "FSSPEC_GS_TOKEN: holds no credentials that can be used" in said
    assert "s3cret" not in said


def test_a_file_is_created_once(bucket: str) -> None:
    create_bytes(f"{bucket}/file", b"first")
    with pytest.raises(FileExistsError):
        create_bytes(f"{bucket}/file", b"second")
    assert read_bytes(f"{bucket}/file") == b"first"


@pytest.mark.parametrize("parts", [0, 1, 40])
def test_a_writer_that_fails_leaves_nothing(parts: int, bucket: str) -> None:
    def failing():
        for _ in range(parts):
            yield bytes(1 << 20)
        raise ValueError

    with pytest.raises(ValueError):
        write_bytes(f"{bucket}/file", failing())
    assert not exists(f"{bucket}/file")


def test_a_bucket_tells_whether_an_object_is_whole(bucket: str) -> None:
    size, crc32c = write_bytes(f"{bucket}/file", [b"content"])
    assert is_whole(bucket, File(path="file", bytes=size, crc32c=crc32c))
    assert not is_whole(bucket, File(path="file", bytes=size, crc32c="00000000"))
    assert not is_whole(bucket, File(path="absent", bytes=size, crc32c=crc32c))


def test_an_object_that_another_writer_changed_meanwhile_is_not_ours(emulator: Emulator, bucket: str) -> None:
    changed = []

    def change(request: Request) -> None:
        if not changed and request.method == "GET":
            changed.append(True)
            write_bytes(f"{bucket}/file", [b"changed"])

    with emulator.front.rule(change), pytest.raises(PenstockError, match="arrived, expected"):
        write_bytes(f"{bucket}/file", [b"content"])
