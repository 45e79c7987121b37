"""Build from bucket to bucket: the same bytes as on a disk, of several builds one published, nothing half uploaded."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pyarrow.csv
import pytest
from emulators.gcs import Emulator
from emulators.gcs_front import Request
from logs import build, plain_log, plain_spec, rich_log, rich_spec, run, write_parquet, write_spec
from patience import PATIENCE_SECONDS, wait_until

from penstock_dataprep.storage.buckets import UPLOAD_BYTES
from penstock_dataprep.storage.files import exists, read_bytes, write_bytes
from penstock_dataprep.versions import gc


def objects(folder: str) -> dict[str, bytes]:
    """Return the bytes of all objects or files under a folder, by path inside it."""
    system, inner = fsspec.core.url_to_fs(folder, use_listings_cache=False)
    return {path.removeprefix(inner).lstrip("/"): system.cat_file(path) for path in system.find(inner)}


def data_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files that hold nothing of when they were built."""
    return {path: held for path, held in files.items() if path.rpartition("/")[2] not in ("manifest.json", "card.html")}


def upload(folder: Path, url: str) -> None:
    """Copy local files into a bucket."""
    system, inner = fsspec.core.url_to_fs(url)
    system.put([str(path) for path in sorted(folder.iterdir())], inner + "/")


@pytest.fixture
def spec(bucket: str, tmp_path: Path) -> str:
    """Put a log and its spec into the bucket; return the spec's URL."""
    write_parquet(rich_log(3000, seed=4), tmp_path / "log", files=3)
    upload(tmp_path / "log", f"{bucket}/log")
    write_spec(tmp_path / "specs" / "spec.yaml", rich_spec(f"{bucket}/log/*.parquet"))
    upload(tmp_path / "specs", f"{bucket}/specs")
    return f"{bucket}/specs/spec.yaml"


@pytest.fixture
def local(spec: str, tmp_path: Path) -> dict[str, bytes]:
    """Return the files of the version that the spec gives on a disk."""
    assert run("build", spec, "--out", tmp_path / "local") == 0
    (manifest,) = (tmp_path / "local").glob("log/*/manifest.json")
    return objects(str(manifest.parent))


def test_a_bucket_holds_the_bytes_that_a_disk_would(
    spec: str, bucket: str, local: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", spec, "--out", f"{bucket}/data") == 0
    manifest = capsys.readouterr().out.splitlines()[-1]
    assert data_of(objects(manifest.rpartition("/")[0])) == data_of(local)
    assert run("build", spec, "--out", f"{bucket}/data") == 0
    assert "reused" in capsys.readouterr().out
    for command in (("verify", manifest), ("show", manifest), ("diff", manifest, manifest)):
        assert run(*command) == 0
    assert run("list", f"{bucket}/data") == 0
    assert manifest in capsys.readouterr().out
    # Neither a probe nor scratch files are left, in the bucket or on this machine.
    assert set(objects(f"{bucket}/data")) == {f"log/{manifest.split('/')[-2]}/{path}" for path in local}
    assert not [path for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*") if path.is_file()]


def test_scratch_in_the_bucket_gives_the_same_bytes(spec: str, bucket: str, local: dict[str, bytes]) -> None:
    assert run("build", spec, "--out", f"{bucket}/data", "--scratch", f"{bucket}/scratch") == 0
    assert {path.partition("/")[2]: held for path, held in data_of(objects(f"{bucket}/data/log")).items()} == data_of(
        local
    )
    assert objects(f"{bucket}/scratch") == {}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_text_is_read_from_buckets_too(form: str, bucket: str, tmp_path: Path) -> None:
    table = plain_log(500, seed=3)
    (tmp_path / "log").mkdir()
    if form == "csv":
        pyarrow.csv.write_csv(table, tmp_path / "log" / "log.csv")
    else:
        (tmp_path / "log" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    upload(tmp_path / "log", f"{bucket}/log")
    built = []
    for place in (tmp_path, bucket):
        document = plain_spec(f"{place}/log/log.{form}")
        document["source"]["format"] = form
        path = write_spec(tmp_path / f"{len(built)}.yaml", document)
        assert run("build", path, "--out", f"{place}/data") == 0
        built.append({name.split("/", 2)[2]: held for name, held in data_of(objects(f"{place}/data")).items()})
    assert built[0] == built[1]


def test_a_day_is_added_in_the_bucket(bucket: str, tmp_path: Path) -> None:
    days = [plain_spec(write_parquet(plain_log(400, seed=day), tmp_path / f"log{day}")) for day in (1, 2)]
    first = build(days[0], tmp_path / "local")
    second = build(days[1], tmp_path / "local", append_to=first)
    paths = [write_spec(tmp_path / f"{day}.yaml", document) for day, document in enumerate(days)]
    assert run("build", paths[0], "--out", f"{bucket}/data") == 0
    older = f"{bucket}/data/log/{first.path.parent.name}/manifest.json"
    assert run("build", paths[1], "--out", f"{bucket}/data", "--append-to", older) == 0
    newer = f"{bucket}/data/log/{second.path.parent.name}"
    assert data_of(objects(newer)) == data_of(objects(str(second.path.parent)))
    assert run("verify", f"{newer}/manifest.json") == 0


def start(spec: str, out: str, machine: Path) -> subprocess.Popen[str]:
    """Start a build as another machine would, which has scratch files of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "penstock_dataprep.cli", "build", spec, "--out", out]
    environment = {**os.environ, "XDG_CACHE_HOME": str(machine)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_of_two_builds_that_race_one_publishes(emulator: Emulator, spec: str, bucket: str, tmp_path: Path) -> None:
    together = threading.Barrier(2)

    def hold_manifests(request: Request) -> None:
        if "ifGenerationMatch=0" in request.path:
            together.wait(PATIENCE_SECONDS)

    with emulator.front.rule(hold_manifests):
        racers = [start(spec, f"{bucket}/data", tmp_path / machine) for machine in ("one", "other")]
        said = [racer.communicate(timeout=PATIENCE_SECONDS) for racer in racers]
    assert sorted(racer.returncode for racer in racers) == [0, 2], said
    ((_, refusal),) = (text for racer, text in zip(racers, said, strict=True) if racer.returncode == 2)
    assert "another build published this version first, with the same content" in refusal
    assert "Traceback" not in refusal
    ((manifest, _),) = (text for racer, text in zip(racers, said, strict=True) if racer.returncode == 0)
    assert run("verify", manifest.splitlines()[-1]) == 0


def test_a_build_killed_while_it_uploads_leaves_nothing_to_read_and_goes_on(
    emulator: Emulator, spec: str, bucket: str, local: dict[str, bytes], tmp_path: Path
) -> None:
    uploading, killed = threading.Event(), threading.Event()

    def hold_second_shard(request: Request) -> int | None:
        if request.name.endswith("00001-of-00002.tfrecord"):
            uploading.set()
            killed.wait(PATIENCE_SECONDS)
            return 503  # What hung in the front does not arrive any more.
        return None

    with emulator.front.rule(hold_second_shard):
        victim = start(spec, f"{bucket}/data", tmp_path)
        # The first shard is known to be finished.
        wait_until(lambda: uploading.is_set() and any(tmp_path.rglob("done/write/000000.json")), victim)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        half = objects(f"{bucket}/data")
        killed.set()
    assert not [path for path in half if path.endswith(("manifest.json", "00001-of-00002.tfrecord"))]
    assert run("list", f"{bucket}/data") == 0
    with emulator.front.recorded() as requests:
        again = start(spec, f"{bucket}/data", tmp_path)
        manifest = again.communicate(timeout=PATIENCE_SECONDS)[0].splitlines()[-1]
    assert data_of(objects(manifest.rpartition("/")[0])) == data_of(local)
    uploaded = {request.name.rpartition("data/")[2] for request in requests if request.name}
    assert any(path.endswith("train/00000-of-00002.tfrecord") for path in half)
    assert not any(path.endswith("train/00000-of-00002.tfrecord") for path in uploaded)
    assert any(path.endswith("train/00001-of-00002.tfrecord") for path in uploaded)


WRITE = """
import sys
from penstock_dataprep.storage.files import write_bytes
write_bytes(sys.argv[1], (bytes(1 << 20) for _ in range(int(sys.argv[2]))))
"""


def test_an_object_appears_when_its_last_piece_has_arrived(emulator: Emulator, bucket: str) -> None:
    path, second, killed = f"{bucket}/large", threading.Event(), threading.Event()
    pieces = []

    def hold_second_piece(request: Request) -> None:
        if "upload_id=" in request.path:
            pieces.append(request)
            if len(pieces) == 2:
                second.set()
                killed.wait(PATIENCE_SECONDS)

    command = [sys.executable, "-W", "ignore", "-c", WRITE, path, str(2 * (UPLOAD_BYTES >> 20))]
    with emulator.front.rule(hold_second_piece):
        writer = subprocess.Popen(command)
        wait_until(second.is_set, writer)
        assert not exists(path)
        writer.kill()
        writer.wait()
        # The piece was whole when the writer died; without the end of the object it is nothing.
        relayed = len(emulator.front.relayed)
        killed.set()
        wait_until(lambda: pieces[1] in emulator.front.relayed[relayed:])
    assert not exists(path)
    subprocess.run(command, check=True)
    assert read_bytes(path) == bytes(2 * UPLOAD_BYTES)


def test_leftovers_in_the_bucket_are_named_and_deleted_when_nobody_can_be_at_work(
    spec: str, bucket: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("build", spec, "--out", f"{bucket}/data") == 0
    manifest = capsys.readouterr().out.splitlines()[-1]
    unpublished = f"{bucket}/data/log/000000000000/train/00000-of-00001.tfrecord"
    write_bytes(unpublished, [b"left"])
    assert run("gc", f"{bucket}/data", "--delete") == 0
    assert "deleted 0 files" in capsys.readouterr().out
    monkeypatch.setattr(gc, "QUIET_SECONDS", -1)
    assert run("gc", f"{bucket}/data", "--delete") == 0
    assert "deleted 1 files, 4 bytes" in capsys.readouterr().out
    assert not exists(unpublished)
    assert run("verify", manifest) == 0
