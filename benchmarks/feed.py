"""Compare the trainer's feed with TFRecordDataset.batch().map(parse_example) over the same rows.

    python benchmarks/feed.py [--rows 4000000] [--rounds 5]

Ours reads block records in a permuted order and permutes the rows of each window of 32 blocks, new in each epoch. The
alternative reads tf.Example records in the order they lie, unshuffled. Both check every CRC, make batches of 8192 rows
with four features, and are consumed by the same tf.data reduce.
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

from penstock_dataprep.blocks import Values
from penstock_dataprep.tfrecord import frame

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "training"))

import penstock_training  # noqa: F401  (sets the environment TensorFlow reads when it is imported)

import tensorflow as tf  # isort: skip
from tiny_dataset import TinyColumn, write_dataset  # isort: skip

from penstock_training.dataset import open_dataset
from penstock_training.feed import Feed

BATCH_ROWS = 8192
WINDOW_BLOCKS = 32
SHARDS = 8
PASSES = 6
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


def rows_per_second(read: Callable[[], int]) -> float:
    """Time one reading."""
    started = time.perf_counter()
    rows = read()
    return rows / (time.perf_counter() - started)


def main() -> None:
    """Write the data, read it both ways in interleaved rounds, print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = make_log(flags.rows)
        paths = write_examples(Path(folder), log)
        shards = [
            {name: Values(part) for name, part in zip(log, parts, strict=True)}
            for parts in zip(*(np.array_split(column, SHARDS) for column in log.values()), strict=True)
        ]
        feed = Feed(
            open_dataset(str(write_dataset(Path(folder), COLUMNS, {"train": shards}, rows_per_block=8192))),
            "train",
            BATCH_ROWS,
            tuple(log),
        )
        # An epoch of a few thousand batches: the blocks are listed several times, in a new order each time.
        feed.blocks = feed.blocks.take(np.tile(np.arange(len(feed.blocks.rows)), PASSES))
        epochs = itertools.count()

        def ours() -> int:
            return consume(feed.training_batches(1, next(epochs), 0, WINDOW_BLOCKS))

        def alternative() -> int:
            records = tf.data.TFRecordDataset(paths, buffer_size=1 << 20)
            return consume(records.batch(BATCH_ROWS).map(lambda batch: tf.io.parse_example(batch, PARSED)))

        rates: dict[str, list[float]] = {"penstock": [], "parse_example": []}
        for number in range(flags.rounds):
            rates["penstock"].append(rows_per_second(ours))
            rates["parse_example"].append(rows_per_second(alternative))
            print(
                f"round {number}: " + ", ".join(f"{name} {rate[-1] / 1e6:.2f}M rows/s" for name, rate in rates.items())
            )
    medians = {name: statistics.median(rate) for name, rate in rates.items()}
    print(", ".join(f"{name} {rate / 1e6:.2f}M rows/s" for name, rate in medians.items()))
    print(f"ratio {medians['penstock'] / medians['parse_example']:.1f}x")


if __name__ == "__main__":
    main()
