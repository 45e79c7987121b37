"""Compare the trainer's feed with what is done without it, over the same rows and in one run.

    python benchmarks/feed.py [--rows 4000000] [--passes 16] [--rounds 5]

Ours reads block records in a permuted order and permutes the rows of each window of 32 blocks, new in each epoch, and
checks every CRC. Beside it:

- parse_example: TFRecordDataset.batch().map(parse_example) over tf.Example records in the order they lie, unshuffled;
- shuffle(100_000): the same after shuffle(100_000), as tutorials have it, over some of the rows, since it is slow;
- numpy: the same permutations of blocks and windows as ours in plain numpy, from the same block files, mapped into
  memory, without CRCs, without TensorFlow and into arrays of the final types.

Batches have 8192 rows of four features and are consumed by the same tf.data reduce, numpy's by a loop. The processor
seconds of each are printed too: with few cores in use by others they say more than the rates.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from penstock_dataprep.records.blocks import Values
from penstock_dataprep.records.tfrecord import frame
from penstock_shared.layout import BLOCK_HEADER_BYTES, WIDTH_BYTES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "training"))

import penstock_training  # noqa: F401  (sets the environment TensorFlow reads when it is imported)

import tensorflow as tf  # isort: skip
from tiny_dataset import TinyColumn, write_dataset  # isort: skip

from penstock_training.data.dataset import open_dataset
from penstock_training.data.feed import Feed
from penstock_training.data.order import epoch_order

BATCH_ROWS = 8192
WINDOW_BLOCKS = 32
SHARDS = 8
# A TFRecord payload comes after its length and the length's CRC.
RECORD_HEADER_BYTES = 12
SHUFFLE_ROWS = 100_000
SHUFFLED_FILES = 2
# What ours should be of the others' rates.
TARGETS = {"parse_example": 25.0, "shuffle(100_000)": 60.0, "numpy": 0.7}
COLUMNS = [
    TinyColumn("user_id", "user", "int32", "u24"),
    TinyColumn("item_id", "item", "int32", "u24"),
    TinyColumn("rating", "label", "float32", "f16"),
    TinyColumn("timestamp", "time", "int64", "u32"),
]
PARSED = {
    "user_id": tf.io.FixedLenFeature([], tf.int64),
    "item_id": tf.io.FixedLenFeature([], tf.int64),
    "rating": tf.io.FixedLenFeature([], tf.float32),
    "timestamp": tf.io.FixedLenFeature([], tf.int64),
}


def make_log(rows: int) -> dict[str, np.ndarray]:
    """Return columns of random rows; every id takes three bytes as a varint, so that all examples are equally long."""
    random = np.random.default_rng(0)
    return {
        "user_id": random.integers(1 << 14, 1 << 20, rows),
        "item_id": random.integers(1 << 14, 1 << 18, rows),
        "rating": (random.integers(1, 11, rows) / 2).astype(np.float32),
        "timestamp": random.integers(1_500_000_000, 1_700_000_000, rows),
    }


def write_examples(folder: Path, log: dict[str, np.ndarray]) -> list[str]:
    """Write canonical tf.Example records by filling in a template, and return the paths."""
    template = np.frombuffer(serialise({name: column[0] for name, column in log.items()}), np.uint8)
    pieces = {name: encode(name, column) for name, column in log.items()}
    records = np.tile(template, (len(log["rating"]), 1))
    for piece in pieces.values():
        place = template.tobytes().index(piece[0].tobytes())
        records[:, place : place + piece.shape[1]] = piece
    assert records[-1].tobytes() == serialise({name: column[-1] for name, column in log.items()})
    paths = []
    for number, part in enumerate(np.array_split(records, SHARDS)):
        paths.append(str(folder / f"{number:05d}.tfrecord"))
        content, size = part.tobytes(), part.shape[1]
        Path(paths[-1]).write_bytes(b"".join(frame(content[at : at + size]) for at in range(0, len(content), size)))
    return paths


def serialise(row: dict[str, np.generic]) -> bytes:
    """Return one row as a canonical tf.Example: keys in order."""
    example = tf.train.Example()
    for name, value in row.items():
        if name == "rating":
            example.features.feature[name].float_list.value.append(value)
        else:
            example.features.feature[name].int64_list.value.append(value)
    return example.SerializeToString(deterministic=True)


def encode(name: str, column: np.ndarray) -> np.ndarray:
    """Return the bytes of each value inside its example, uint8 [rows, bytes]: float32 or varint."""
    if name == "rating":
        return column.astype("<f4").view(np.uint8).reshape(-1, 4)
    size = (int(column.max()).bit_length() + 6) // 7
    varint = np.stack([(column >> (7 * place)) & 0x7F for place in range(size)], axis=1).astype(np.uint8)
    varint[:, :-1] |= 0x80
    return varint


def consume(batches: tf.data.Dataset) -> int:
    """Return the rows in all batches, touching every feature."""

    def add(rows: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        return rows + tf.reduce_min([tf.shape(tensor)[0] for tensor in batch.values()])

    return int(batches.reduce(tf.constant(0), add))


def parsed(paths: list[str], shuffle_rows: int) -> tf.data.Dataset:
    """Return the batches of tf.Example records, shuffled first where `shuffle_rows` is not 0."""
    records = tf.data.TFRecordDataset(paths, buffer_size=1 << 20)
    if shuffle_rows:
        records = records.shuffle(shuffle_rows)
    return records.batch(BATCH_ROWS).map(lambda batch: tf.io.parse_example(batch, PARSED))


def numpy_window_shuffle(feed: Feed, paths: list[str], epoch: int) -> int:
    """Return the rows of all batches of an epoch, made of blocks mapped into memory."""
    files = [np.memmap(path, np.uint8, "r") for path in paths]
    blocks = feed.blocks.take(epoch_order(len(feed.blocks.rows), 1, epoch))
    random = np.random.default_rng(epoch)
    rows = 0
    for first in range(0, len(blocks.rows), WINDOW_BLOCKS):
        window = blocks.take(np.arange(first, min(first + WINDOW_BLOCKS, len(blocks.rows))))
        payloads = [
            files[shard][offset + RECORD_HEADER_BYTES :]
            for shard, offset in zip(window.shards, window.offsets, strict=True)
        ]
        order = random.permutation(int(window.rows.sum()))
        columns = {}
        start = np.full(len(payloads), BLOCK_HEADER_BYTES)
        for column in COLUMNS:
            width = WIDTH_BYTES[column.storage]
            pieces = [
                payload[at : at + count * width]
                for payload, at, count in zip(payloads, start, window.rows, strict=True)
            ]
            start = start + window.rows * width
            columns[column.name] = NUMPY_COLUMNS[column.name](np.concatenate(pieces), order)
        for end in range(BATCH_ROWS, len(order) + 1, BATCH_ROWS):
            batch = {name: numbers[end - BATCH_ROWS : end] for name, numbers in columns.items()}
            rows += min(len(numbers) for numbers in batch.values())
    return rows


def numpy_u24(piece: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return u24 numbers in an order, as int32."""
    wide = np.zeros((len(order), 4), np.uint8)
    wide[:, :3] = piece.reshape(-1, 3)
    numbers: np.ndarray = wide.view("<i4")[:, 0][order]
    return numbers


NUMPY_COLUMNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "user_id": numpy_u24,
    "item_id": numpy_u24,
    "rating": lambda piece, order: piece.view("<f2")[order].astype(np.float32),
    "timestamp": lambda piece, order: piece.view("<u4")[order].astype(np.int64),
}


def measured(read: Callable[[], int]) -> tuple[float, float]:
    """Return the (rows per second, processor nanoseconds per row) of one reading."""
    started, busy = time.perf_counter(), time.process_time()
    rows = read()
    return rows / (time.perf_counter() - started), (time.process_time() - busy) / rows * 1e9


def main() -> None:
    """Write the data, read it every way in interleaved rounds, print medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--passes", type=int, default=16, help="how often an epoch of ours and numpy's has each row")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = make_log(flags.rows)
        paths = write_examples(Path(folder), log)
        shards = [
            {name: Values(part) for name, part in zip(log, parts, strict=True)}
            for parts in zip(*(np.array_split(column, SHARDS) for column in log.values()), strict=True)
        ]
        dataset = open_dataset(str(write_dataset(Path(folder), COLUMNS, {"train": shards}, rows_per_block=8192)))
        feed = Feed(dataset, "train", BATCH_ROWS, tuple(log))
        # An epoch of a few thousand batches: the blocks are listed several times, in a new order each time.
        feed.blocks = feed.blocks.take(np.tile(np.arange(len(feed.blocks.rows)), flags.passes))
        block_paths = [dataset.path(shard) for shard in dataset.split("train").shards]
        epochs = itertools.count()
        readers: dict[str, Callable[[], int]] = {
            "penstock": lambda: consume(feed.training_batches(1, next(epochs), 0, WINDOW_BLOCKS)),
            "parse_example": lambda: consume(parsed(paths, 0)),
            "shuffle(100_000)": lambda: consume(parsed(paths[:SHUFFLED_FILES], SHUFFLE_ROWS)),
            "numpy": lambda: numpy_window_shuffle(feed, block_paths, next(epochs)),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
        for number in range(flags.rounds):
            for name, read in readers.items():
                found[name].append(measured(read))
            print(f"round {number}: " + ", ".join(f"{name} {rate[-1][0] / 1e6:.2f}M" for name, rate in found.items()))
    medians = {name: statistics.median(rate for rate, _ in rates) for name, rates in found.items()}
    for name, rates in found.items():
        nanoseconds = statistics.median(busy for _, busy in rates)
        print(f"{name:>16}  {medians[name] / 1e6:7.2f}M rows/s  {nanoseconds:7.1f} processor ns/row", end="")
        if name in TARGETS:
            print(f"  ours is {medians['penstock'] / medians[name]:.2f}x, target {TARGETS[name]}x", end="")
        print()


if __name__ == "__main__":
    main()
