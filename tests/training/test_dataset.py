import json
from pathlib import Path

import pytest

from penstock_shared import DataRefused, PenstockError, UserMistake
from penstock_training.data.dataset import check_files, open_dataset


def edit(path: Path, key: str, value: object) -> None:
    document = json.loads(path.read_text())
    target = document
    *parents, last = key.split(".")
    for part in parents:
        target = target[int(part) if part.isdigit() else part]
    target[last] = value
    path.write_text(json.dumps(document))


def test_a_version_folder_opens_like_its_manifest(events: Path) -> None:
    assert open_dataset(str(events.parent)) == open_dataset(str(events))


@pytest.mark.parametrize(
    ("folder", "path"), [("v1", "manifest.json"), ("v1/train", "../manifest.json"), (".", "v1/manifest.json")]
)
def test_relative_paths_lead_to_the_files(
    events: Path, monkeypatch: pytest.MonkeyPatch, folder: str, path: str
) -> None:
    monkeypatch.chdir(events.parent.parent / folder)
    check_files(open_dataset(path), ["train", "test"])


def test_nothing_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="no such file"):
        open_dataset(str(tmp_path / "absent.json"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format_version", "2.0", "found 2.0, expected at most 1.x"),
        ("layout.rows_per_block", 65, "digest: found [0-9a-f]{64}, but its content has"),
        ("splits.train.shards.0.path", "../secret", "cannot leave the dataset folder"),
        ("surprise", 1, "unknown key 'surprise'"),
    ],
)
def test_a_manifest_that_was_edited_is_refused(own_events: Path, key: str, value: object, message: str) -> None:
    edit(own_events, key, value)
    with pytest.raises(DataRefused, match=message):
        open_dataset(str(own_events))


def test_a_manifest_that_is_not_json_is_refused(own_events: Path) -> None:
    own_events.write_text(own_events.read_text()[:-100])
    with pytest.raises(DataRefused, match="not JSON"):
        open_dataset(str(own_events))


@pytest.mark.parametrize(
    "name", ["train/00001.tfrecord", "train/blocks.index", "vocabularies/item_id/00000.tfrecord", "test/00000.tfrecord"]
)
def test_missing_and_cut_files_are_all_named(own_events: Path, name: str) -> None:
    dataset = open_dataset(str(own_events))
    path = own_events.parent / name
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataRefused, match=f"{name}: found {size - 1} bytes, expected {size}"):
        check_files(dataset, ["train", "test"])
    path.unlink()
    with pytest.raises(DataRefused, match=f"{name}: missing"):
        check_files(dataset, ["train", "test"])


def test_an_unknown_split_is_a_mistake(events: Path) -> None:
    with pytest.raises(UserMistake, match="did you mean 'train'"):
        open_dataset(str(events)).split("trian")


def test_a_block_index_that_does_not_ascend_is_refused(own_events: Path) -> None:
    index = own_events.parent / "train/blocks.index"
    content = index.read_bytes()
    index.write_bytes(content[8:16] + content[:8] + content[16:])
    with pytest.raises(DataRefused, match=r"entry 0, [0-9]+, does not fit shard v1/train/00000\.tfrecord"):
        open_dataset(str(own_events)).block_table("train")


def test_refusals_share_one_base() -> None:
    assert issubclass(DataRefused, PenstockError)
    assert issubclass(UserMistake, PenstockError)
