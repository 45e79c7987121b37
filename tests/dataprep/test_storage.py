"""Hold writing to all or nothing, on real full disks too, and provenance to the commit that runs."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import left_behind, plain_log, plain_spec, write_parquet, write_spec

from penstock_dataprep.storage.files import (
    checksum,
    dataset_folder,
    exists,
    filesystem,
    join,
    make_folder,
    out_of_space,
    read_bytes,
    remove,
    write_bytes,
)
from penstock_dataprep.versions import provenance
from penstock_shared import PenstockError, UserMistake


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_parts_are_written_end_to_end_with_their_checksum(parts: list[bytes]) -> None:
    # Within one folder, so that a file is also overwritten by the next.
    path = str(Path(os.environ["PYTEST_TMP"]) / "deep" / "er" / "file")
    whole = b"".join(parts)
    written = write_bytes(path, parts)
    assert written == checksum(path) == (len(whole), f"{google_crc32c.value(whole):08x}")
    assert read_bytes(path) == whole
    assert [held.name for held in Path(path).parent.iterdir()] == ["file"]


@pytest.fixture(autouse=True)
def folder_for_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, OSError])
def test_a_writer_that_fails_leaves_nothing_or_what_was_there(fault: type[BaseException], tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise fault

    with pytest.raises(fault):
        write_bytes(str(tmp_path / "new" / "file"), parts())
    assert left_behind(tmp_path / "new") == []
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(fault):
        write_bytes(str(tmp_path / "file"), parts())
    assert (tmp_path / "file").read_bytes() == b"before"


def test_a_full_device_is_an_error_for_people() -> None:
    # Every write to /dev/full fails as on a full disk.
    with pytest.raises(OSError, match="No space left on device") as fault, Path("/dev/full").open("wb") as full:
        full.write(b"x")
    said = out_of_space("/data/shard", fault.value)
    assert isinstance(said, PenstockError)
    assert str(said) == "/data/shard: No space left on device; free some and run the same command again"
    assert out_of_space("/data/shard", PermissionError(13, "no")) is None


def small_disk(folder: Path, size: str) -> bool:
    """Mount a file system of a few megabytes, where this machine lets tests do so."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_build_that_runs_out_of_room_says_so_and_publishes_nothing(tmp_path: Path) -> None:
    files = write_parquet(plain_log(20_000, seed=1), tmp_path / "log")
    spec = write_spec(tmp_path / "spec.yaml", plain_spec(files))
    disk = tmp_path / "disk"
    mounted = small_disk(disk, "200k")
    try:
        # Where nothing may be mounted, a limit on the size of files stands in: another error, the same promises.
        limit = None if mounted else limit_file_size
        command = [sys.executable, "-m", "penstock_dataprep.cli", "build", spec, "--out", str(disk)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
        assert ended.returncode == 1
        assert ended.stdout == ""
        assert "Traceback" not in ended.stderr
        expected = "No space left on device; free some and run the same command again" if mounted else "File too large"
        assert expected in ended.stderr
        assert not list(disk.rglob("manifest.json"))
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)


def test_places_of_other_kinds(tmp_path: Path) -> None:
    assert write_bytes("memory://bucket/file", [b"a", b"b"])[0] == 2
    assert exists("memory://bucket/file")
    assert read_bytes("memory://bucket/file") == b"ab"
    make_folder("memory://bucket/elsewhere")
    remove("memory://bucket")
    remove("memory://bucket")
    assert not exists("memory://bucket/file")
    with pytest.raises(UserMistake, match="nosuch://x"):
        filesystem("nosuch://x")
    (tmp_path / "file").touch()
    with pytest.raises(UserMistake, match=r"cannot be made: .*; choose another folder"):
        make_folder(str(tmp_path / "file" / "inner"))


@pytest.mark.parametrize(
    ("parts", "joined"),
    [(("a", "b"), "a/b"), (("a/", "b", "c"), "a/b/c"), (("/", "b"), "/b"), (("gs://x/", "b"), "gs://x/b")],
)
def test_join(parts: tuple[str, ...], joined: str) -> None:
    assert join(*parts) == joined


@pytest.mark.parametrize(
    ("manifest", "folder"),
    [
        ("/d/log/v1/manifest.json", "/d/log"),
        ("/d/log/v1/../v2/manifest.json", "/d/log"),
        ("manifest.json", ".."),
        ("v1/manifest.json", "."),
        ("../manifest.json", "../.."),
        ("gs://b/log/v1/manifest.json", "gs://b/log"),
    ],
)
def test_dataset_folder(manifest: str, folder: str) -> None:
    expected = folder if folder.startswith("gs://") else str(Path(folder).resolve())
    assert dataset_folder(manifest) == expected


@pytest.fixture
def fresh_commit() -> Iterator[None]:
    provenance.git_commit.cache_clear()
    yield
    provenance.git_commit.cache_clear()


def test_the_commit_is_told_by_the_checkout_or_the_image(
    fresh_commit: None, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_GIT_COMMIT", raising=False)
    head = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    assert provenance.git_commit() == (head.stdout.strip() or None)
    provenance.git_commit.cache_clear()
    monkeypatch.setenv("PENSTOCK_GIT_COMMIT", "from-the-image")
    assert provenance.git_commit() == "from-the-image"


def test_the_commit_is_unknown_in_a_checkout_that_does_not_track_this_code(
    fresh_commit: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_GIT_COMMIT", raising=False)
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", other], check=True)
    installed = other / "site-packages" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text(Path(provenance.__file__).read_text())
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.git_commit() is None
    monkeypatch.setenv("PATH", "")
    provenance.git_commit.cache_clear()
    assert provenance.git_commit() is None
