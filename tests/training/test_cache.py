import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_events import write_events

from penstock_shared import DataRefused, UserMistake
from penstock_shared.files import File
from penstock_training.data import cache
from penstock_training.data.cache import Cache, cached, copy_name
from penstock_training.data.dataset import Dataset, open_dataset
from penstock_training.data.feed import Feed
from penstock_training.data.lease import Lease
from penstock_training.data.room import Copy, fit_in, make_room

SPLITS = ("train", "test")


@pytest.fixture(autouse=True)
def any_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk of the tests be as full as it likes."""
    monkeypatch.setattr(cache, "SPARED_BYTES", 0)


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
    local = cached(dataset, SPLITS, Cache(str(tmp_path / "cache")), said.append)
    assert [line for line in said if f"copying {len(shards)} of {len(shards)} shards" in line] == said
    assert copies_in(tmp_path / "cache") == {copy_name(dataset.path(shard), shard) for shard in shards}
    for shard in shards:
        Path(dataset.path(shard)).unlink()
    # The shards are gone: what is read are the copies, and they are not made again.
    assert rows_of(local) == whole
    assert rows_of(cached(dataset, SPLITS, Cache(str(tmp_path / "cache")), said.append)) == whole
    assert len(said) == 1


def test_a_shard_that_is_not_what_the_manifest_says_is_not_kept(own_events: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(own_events))
    shard = dataset.split("train").shards[0]
    content = bytearray(Path(dataset.path(shard)).read_bytes())
    content[100] ^= 1
    Path(dataset.path(shard)).write_bytes(content)
    with pytest.raises(DataRefused, match=rf"{shard.path}: found {shard.bytes} bytes with crc32c .* {shard.crc32c}"):
        cached(dataset, SPLITS, Cache(str(tmp_path / "cache")), print)
    assert copy_name(dataset.path(shard), shard) not in copies_in(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_what_does_not_fit_is_read_from_where_it_is(
    own_events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, said = open_dataset(str(own_events)), []
    # What is free on a disk that others write to changes from one moment to the next.
    usage = shutil.disk_usage(tmp_path)._replace(free=cache.SPARED_BYTES + dataset.split("train").shards[0].bytes)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    local = cached(dataset, ("train",), Cache(str(tmp_path / "cache")), said.append)
    assert len(local.copies) == len(copies_in(tmp_path / "cache")) == 1
    assert "shards do not fit and are read from" in said[-1]
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
cache.SPARED_BYTES = 0
local = cache.cached(open_dataset(sys.argv[1]), ("train", "test"), cache.Cache(sys.argv[2]), print)
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
        cached(open_dataset(str(events)), ("train",), Cache(folder), print)
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    # Copies a, b, c of 10 bytes were used in this order; the columns are: kept, needed, free, removed.
    ("kept", "needed", "free", "removed"),
    [
        ("", 0, 0, ""),
        ("", 5, 5, ""),
        ("", 6, 5, "a"),
        ("", 15, 5, "a"),
        ("", 16, 5, "ab"),
        ("a", 16, 5, "bc"),
        ("ac", 100, 5, "b"),
        ("abc", 100, 5, ""),
        ("", 0, -11, "ab"),
    ],
)
def test_copies_unused_for_longest_go_until_there_is_room(kept: str, needed: int, free: int, removed: str) -> None:
    copies = [Copy("c", 10, 3.0), Copy("a", 10, 1.0), Copy("b", 10, 2.0)]
    assert "".join(copy.name for copy in make_room(copies, kept, needed, free)) == removed


@pytest.fixture
def two_datasets(tmp_path: Path) -> tuple[Dataset, Dataset]:
    """Return the same rows in two places, which are two datasets to a cache."""
    return open_dataset(str(write_events(tmp_path / "a"))), open_dataset(str(write_events(tmp_path / "b")))


def train_bytes(dataset: Dataset) -> int:
    return sum(shard.bytes for shard in dataset.split("train").shards)


def test_a_size_is_kept_by_removing_what_was_unused_for_longest(
    two_datasets: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    one, two = two_datasets
    size = train_bytes(one) + one.split("train").shards[0].bytes
    place, said = Cache(str(tmp_path / "cache"), size), []
    first, *others = [copy_name(one.path(shard), shard) for shard in one.split("train").shards]
    cached(one, ("train",), place, said.append)
    # The first shard was used last: it is the one that has a place beside the other dataset.
    for order, name in enumerate([*others, first]):
        os.utime(tmp_path / "cache" / name, (1000 + order, 1000 + order))
    (tmp_path / "cache/notes.tfrecord").write_bytes(b"not ours")
    held = cached(two, ("train",), place, said.append)
    expected = {copy_name(two.path(shard), shard) for shard in two.split("train").shards}
    assert copies_in(tmp_path / "cache") == expected | {first, "notes.tfrecord"}
    assert f"removed {len(others)} copies, " in said[-2]
    assert rows_of(held) == rows_of(two)
    # Used again, the first shard is younger than those of the other dataset, and nothing goes without a size.
    cached(one, ("train",), Cache(str(tmp_path / "cache")), said.append)
    assert len(copies_in(tmp_path / "cache")) == 2 * len(expected) + 1


def test_what_a_running_process_reads_stays_until_it_is_killed(
    two_datasets: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    one, two = two_datasets
    program = """
import sys
from penstock_training.data import cache
from penstock_training.data.dataset import open_dataset
cache.SPARED_BYTES = 0
local = cache.cached(open_dataset(sys.argv[1]), ("train",), cache.Cache(sys.argv[2]), lambda said: None)
print(len(local.copies), flush=True)
sys.stdin.read()
"""
    place, said = Cache(str(tmp_path / "cache"), train_bytes(one)), []
    line = [sys.executable, "-c", program, one.manifest_path, place.folder]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        running.stdout.readline()
        before = copies_in(tmp_path / "cache")
        # Its copies take all there may be: the other dataset is read from where it is.
        assert not cached(two, ("train",), place, said.append).copies
        assert copies_in(tmp_path / "cache") == before
        assert "shards do not fit and are read from" in said[-1]
        running.kill()
        running.wait()
    local = cached(two, ("train",), place, said.append)
    assert len(local.copies) == len(two.split("train").shards)
    assert not before & copies_in(tmp_path / "cache")


def test_what_another_run_is_still_copying_counts_and_what_a_killed_one_left_goes(
    two_datasets: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    one, two = two_datasets
    place = tmp_path / "cache"
    place.mkdir()
    shard = one.split("train").shards[0]
    name = copy_name(one.path(shard), shard)
    half, left = place / (name + cache.PARTIAL), place / (name.replace("-", "-x") + cache.PARTIAL)
    half.write_bytes(b"half")
    left.write_bytes(b"left")
    coming = Lease(place, {name: shard.bytes})
    fitting = cached(two, ("train",), Cache(str(place), shard.bytes + two.split("train").shards[0].bytes), print)
    assert len(fitting.copies) == 1
    assert half.exists()
    assert not left.exists()
    del coming
    cached(two, ("train",), Cache(str(place), train_bytes(two)), print)
    assert not half.exists()
    assert len(copies_in(place)) == len(two.split("train").shards)
    assert len(list(place.glob("*.lease"))) == 2
