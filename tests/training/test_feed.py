from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tiny_dataset import TinyColumn, write_dataset

from penstock_dataprep.records.blocks import Values
from penstock_shared import DataRefused
from penstock_training.data import compiled
from penstock_training.data.damage import reading
from penstock_training.data.dataset import open_dataset
from penstock_training.data.feed import WEIGHT, Feed

ROWS_PER_SHARD = (70, 0, 33, 48)
COLUMNS = [
    TinyColumn("row", "feature", "int32", "u8"),
    TinyColumn("user", "user", "int32", "u16"),
    TinyColumn("item", "item", "int32", "u24"),
    TinyColumn("large", "feature", "int64", "u32"),
    TinyColumn("signed", "feature", "int64", "i64"),
    TinyColumn("half", "label", "float32", "f16"),
    TinyColumn("brain", "feature", "float32", "bf16"),
    TinyColumn("single", "feature", "float32", "f32"),
    TinyColumn("count", "feature", "float32", "u8"),
    TinyColumn("age", "feature", "float32", "f32", nullable=True),
    TinyColumn("year", "feature", "int32", "u16", nullable=True),
    TinyColumn("history", "feature", "int32", "u24", lengths="u8"),
    TinyColumn("photo", "feature", "float32", "bf16", shape=(3,)),
    TinyColumn("times", "feature", "float32", "f16", lengths="u16", padding=-1.0),
]
NAMES = tuple(column.name for column in COLUMNS)


def shard(first: int, rows: int) -> dict[str, Values]:
    number = np.arange(first, first + rows)
    lengths, present = number % 4, number % 3 > 0
    return {
        "row": Values(number),
        "user": Values(number * 400),
        "item": Values(number * 100_000),
        "large": Values(2**32 - 1 - number),
        "signed": Values(-(2**62) - number),
        "half": Values((number / 2).astype(np.float32)),
        "brain": Values((number % 16).astype(np.float32)),
        "single": Values((number * 0.1).astype(np.float32)),
        "count": Values(number),
        "age": Values((number * 1.5).astype(np.float32), None, present),
        "year": Values(1900 + number, None, ~present),
        "history": Values(np.repeat(number, lengths) * 70_000, lengths),
        "photo": Values(np.stack([number, -number, number * 0], axis=1).astype(np.float32)),
        "times": Values(np.repeat(number, lengths).astype(np.float32), lengths),
    }


def expected_row(row: int) -> dict[str, object]:
    length, present = row % 4, row % 3 > 0
    padding = 3 - length
    return {
        "row": row,
        "user": row * 400,
        "item": row * 100_000,
        "large": 2**32 - 1 - row,
        "signed": -(2**62) - row,
        "half": row / 2,
        "brain": row % 16,
        "single": float(np.float32(row * 0.1)),
        "count": row,
        "age": row * 1.5 if present else 0,
        "age.present": present,
        "year": 0 if present else 1900 + row,
        "year.present": not present,
        "history": [row * 70_000] * length + [0] * padding,
        "history.mask": [True] * length + [False] * padding,
        "photo": [row, -row, 0],
        "times": [row] * length + [-1] * padding,
        "times.mask": [True] * length + [False] * padding,
    }


@pytest.fixture(scope="module", params=["blocks", "examples"])
def manifest_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    starts = np.cumsum([0, *ROWS_PER_SHARD])
    shards = [shard(start, rows) for start, rows in zip(starts[:-1], ROWS_PER_SHARD, strict=True)]
    return write_dataset(tmp_path_factory.mktemp(request.param), COLUMNS, {"train": shards}, layout=request.param)


@pytest.fixture
def feed(manifest_path: Path) -> Feed:
    return Feed(open_dataset(str(manifest_path)), "train", 8, NAMES)


def rows_of(batches: tf.data.Dataset) -> list[list[int]]:
    return [batch["row"].numpy().tolist() for batch in batches]


def test_every_storage_arrives_with_its_type_and_value(feed: Feed) -> None:
    seen = 0
    for batch in feed.training_batches(seed=3, epoch=0, first_step=0, window_blocks=2):
        assert {name: tensor.dtype for name, tensor in batch.items()} == {
            **{column.name: tf.dtypes.as_dtype(column.dtype) for column in COLUMNS},
            **dict.fromkeys(("age.present", "year.present", "history.mask", "times.mask"), tf.bool),
        }
        for place in range(8):
            seen += 1
            found = {name: tensor.numpy()[place].tolist() for name, tensor in batch.items()}
            assert found == expected_row(found["row"])
    assert seen == 144


def test_an_epoch_reads_each_row_at_most_once_and_drops_less_than_a_batch(feed: Feed) -> None:
    batches = rows_of(feed.training_batches(seed=3, epoch=0, first_step=0, window_blocks=2))
    rows = [row for batch in batches for row in batch]
    assert len(set(rows)) == len(rows) == sum(ROWS_PER_SHARD) // 8 * 8
    assert all(len(batch) == 8 for batch in batches)


def test_epochs_differ_and_repeat_exactly(feed: Feed) -> None:
    def rows(seed: int, epoch: int) -> list[list[int]]:
        return rows_of(feed.training_batches(seed, epoch, 0, 2))

    assert rows(1, 0) == rows(1, 0)
    assert len({str(rows(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_rows_move_inside_their_window(feed: Feed) -> None:
    # Neighbours on disk must not stay neighbours: with 144 rows in windows of 32 about 4 pairs would by chance.
    rows = np.concatenate(rows_of(feed.training_batches(1, 0, 0, 2)))
    assert (np.diff(rows) == 1).sum() < 20


@pytest.mark.parametrize("window_blocks", [1, 5])
def test_resuming_at_any_step_gives_the_rest_of_the_epoch(feed: Feed, window_blocks: int) -> None:
    whole = rows_of(feed.training_batches(9, 4, 0, window_blocks))
    for step in (1, 5, 10, 17):
        assert rows_of(feed.training_batches(9, 4, step, window_blocks)) == whole[step:]


def test_the_order_of_rows_is_pinned(manifest_path: Path, feed: Feed) -> None:
    # Resuming on a newer TensorFlow relies on it, and TensorFlow does not promise it.
    assert rows_of(feed.training_batches(1, 0, 0, 2))[:2] == [
        [12, 2, 29, 19, 17, 6, 7, 8],
        [21, 27, 23, 26, 0, 28, 5, 20],
    ]


def test_batches_are_the_same_where_nothing_compiles(
    manifest_path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tf.function

    def without_xla(*arguments: Any, jit_compile: bool = False, **options: Any) -> Any:
        if jit_compile:
            raise tf.errors.NotFoundError(None, None, "could not find registered transfer manager for platform Host")
        return whole(*arguments, **options)

    monkeypatch.setattr(tf, "function", without_xla)
    monkeypatch.setattr(compiled, "_has_compiler", compiled._has_compiler.__wrapped__)
    found = list(Feed(open_dataset(str(manifest_path)), "train", 8, NAMES).training_batches(1, 0, 0, 2))
    monkeypatch.undo()
    expected = list(feed.training_batches(1, 0, 0, 2))
    assert len(found) == len(expected) == 18
    for ours, theirs in zip(found, expected, strict=True):
        assert {name: tensor.shape for name, tensor in ours.items()} == {
            name: tensor.shape for name, tensor in theirs.items()
        }
        for name, tensor in theirs.items():
            assert ours[name].numpy().tobytes() == tensor.numpy().tobytes(), name


def test_evaluation_reads_every_row_once_in_order(feed: Feed) -> None:
    batches = list(feed.evaluation_batches())
    weights = np.concatenate([batch[WEIGHT] for batch in batches])
    rows = np.concatenate([batch["row"] for batch in batches])
    assert len(rows) == 152
    assert rows[weights == 1].tolist() == list(range(sum(ROWS_PER_SHARD)))


def test_lists_are_capped(manifest_path: Path) -> None:
    capped = Feed(open_dataset(str(manifest_path)), "train", 8, ("row", "history"), longest_list=2)
    for batch in capped.evaluation_batches():
        assert set(batch) == {"row", "history", "history.mask", WEIGHT}
        assert batch["history"].shape == (8, 2)
        lengths = np.minimum(batch["row"].numpy() % 4, 2) * batch[WEIGHT].numpy()
        np.testing.assert_array_equal(batch["history.mask"].numpy().sum(axis=1), lengths)


def test_batches_have_a_static_shape(feed: Feed) -> None:
    spec = feed.training_batches(1, 0, 0, 2).element_spec
    assert spec["item"].shape == (8,)
    assert spec["history"].shape == (8, 3)


@pytest.mark.parametrize("layout", ["blocks", "examples"])
def test_a_flipped_byte_is_refused_with_its_shard_and_block(tmp_path: Path, layout: str) -> None:
    manifest_path = write_dataset(tmp_path, COLUMNS, {"train": [shard(0, 40), shard(40, 40)]}, layout=layout)
    damaged = tmp_path / "tiny/v1/train/00001.tfrecord"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    dataset = open_dataset(str(manifest_path))
    with (
        pytest.raises(DataRefused, match=r"00001\.tfrecord: corrupt: block 4 of split train, 16 rows"),
        reading(dataset, "train"),
    ):
        rows_of(Feed(dataset, "train", 8, NAMES).training_batches(1, 0, 0, 2))


def test_a_shard_cut_short_while_reading_is_refused(tmp_path: Path) -> None:
    manifest_path = write_dataset(tmp_path, COLUMNS, {"train": [shard(0, 40)]})
    dataset = open_dataset(str(manifest_path))
    path = tmp_path / "tiny/v1/train/00000.tfrecord"
    path.write_bytes(path.read_bytes()[:-30])
    with (
        pytest.raises(DataRefused, match=r"00000\.tfrecord: corrupt: block 2 of split train"),
        reading(dataset, "train"),
    ):
        rows_of(Feed(dataset, "train", 8, NAMES).evaluation_batches())
