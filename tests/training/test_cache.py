import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penstock_shared import DataRefused, UserMistake
from penstock_shared.files import File
from penstock_training.data import cache
from penstock_training.data.cache import cached, copy_name, fit_in
from penstock_training.data.dataset import Dataset, open_dataset
from penstock_training.data.feed import Feed

SPLITS = ("train", "test")


def rows_of(dataset: Dataset) -> list[list[int]]:
    names = tuple(feature.name for feature in dataset.manifest.features)
    batches = Feed(dataset, "train", 50, names).training_batches(1, 0, 0, 2)
    return [[int(number) for number in batch[names[0]].numpy()] for batch in batches]


def copies_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.tfrecord")}


def test_copies_are_read_and_made_once(own_events: Path, tmp_path: Path) -> None:
    dataset, said = open_dataset(str(own_events)), []
    whole = rows_of(dataset)
    shards = [shard for name in SPLITS for shard in dataset.split(name).shards]
    local = cached(dataset, SPLITS, str(tmp_path / "cache"), said.append)
    assert [line for line in said if f"copying {len(shards)} of {len(shards)} shards" in line] == said
    assert copies_in(tmp_path / "cache") == {copy_name(dataset.path(shard), shard) for shard in shards}
    for shard in shards:
        Path(dataset.path(shard)).unlink()
    # The shards are gone: what is read are the copies, and they are not made again.
    assert rows_of(local) == whole
    assert rows_of(cached(dataset, SPLITS, str(tmp_path / "cache"), said.append)) == whole
    assert len(said) == 1


def test_a_shard_that_is_not_what_the_manifest_says_is_not_kept(own_events: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(own_events))
    shard = dataset.split("train").shards[0]
    content = bytearray(Path(dataset.path(shard)).read_bytes())
    content[100] ^= 1
    Path(dataset.path(shard)).write_bytes(content)
    with pytest.raises(DataRefused, match=rf"{shard.path}: found {shard.bytes} bytes with crc32c .* {shard.crc32c}"):
        cached(dataset, SPLITS, str(tmp_path / "cache"), print)
    assert copy_name(dataset.path(shard), shard) not in copies_in(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_what_does_not_fit_is_read_from_where_it_is(
    own_events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, said = open_dataset(str(own_events)), []
    # What is free on a disk that others write to changes from one moment to the next.
    usage = shutil.disk_usage(tmp_path)._replace(free=cache.SPARED_BYTES + dataset.split("train").shards[0].bytes)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    local = cached(dataset, ("train",), str(tmp_path / "cache"), said.append)
    assert len(local.copies) == len(copies_in(tmp_path / "cache")) == 1
    assert "do not fit on the disk" in said[-1]
    assert rows_of(local) == rows_of(dataset)


@pytest.mark.parametrize(
    ("sizes", "free", "expected"), [((), 5, 0), ((3, 3), 6, 2), ((3, 3), 5, 1), ((7, 1), 5, 0), ((1,), -1, 0)]
)
def test_the_first_that_fit(sizes: tuple[int, ...], free: int, expected: int) -> None:
    files = [File(path=f"f{number}", bytes=size, crc32c="00000000") for number, size in enumerate(sizes)]
    assert fit_in(files, free) == files[:expected]


def test_another_content_or_place_has_another_name() -> None:
    file = File(path="v1/train/0.tfrecord", bytes=5, crc32c="00000001")
    names = {
        copy_name("gs://a/v1/train/0.tfrecord", file),
        copy_name("gs://b/v1/train/0.tfrecord", file),
        copy_name("gs://a/v1/train/0.tfrecord", file.model_copy(update={"crc32c": "00000002"})),
    }
    assert len(names) == 3
    assert all(name.endswith("-0.tfrecord") for name in names)


def test_processes_share_a_folder(own_events: Path, tmp_path: Path) -> None:
    # One is killed while it copies; others come at the same time afterwards. All use the same names.
    program = """
import sys
from penstock_training.data import cache
from penstock_training.data.dataset import open_dataset
local = cache.cached(open_dataset(sys.argv[1]), ("train", "test"), sys.argv[2], print)
print(len(local.copies))
"""
    target = tmp_path / "cache"
    dataset = open_dataset(str(own_events))
    shards = [shard for name in SPLITS for shard in dataset.split(name).shards]
    target.mkdir()
    (target / (copy_name(dataset.path(shards[0]), shards[0]) + cache.PARTIAL)).write_bytes(b"half")
    runs = [
        subprocess.Popen([sys.executable, "-c", program, own_events, target], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [run.communicate()[0].splitlines()[-1] for run in runs]
    assert answers == [str(len(shards))] * 2
    for shard in shards:
        copied = target / copy_name(dataset.path(shard), shard)
        assert copied.read_bytes() == Path(dataset.path(shard)).read_bytes()


@pytest.mark.parametrize("folder", ["gs://bucket/cache", "/proc/cache"])
def test_a_folder_that_cannot_hold_copies_is_refused(events: Path, folder: str) -> None:
    with pytest.raises(UserMistake, match=f"--cache {folder}: (expected a folder on|cannot be written)"):
        cached(open_dataset(str(events)), ("train",), folder, print)
    assert not Path(folder).exists()
