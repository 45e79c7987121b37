"""Measure the vectorised tf.train.Example encoder against the ordinary loop: an Example and a TFRecordWriter per row.

Both write the same bytes to one file on one thread; runs alternate, and medians are compared.

    python benchmarks/examples_encode.py [--rows 1_000_000] [--loop-rows 50_000] [--runs 5]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from penstock_dataprep.generate.events import make_events
from penstock_dataprep.generate.population import populate
from penstock_dataprep.records.blocks import Values
from penstock_dataprep.records.examples import encode_examples
from penstock_shared.features import Feature, Statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

TARGET_RATIO = 10
ROWS_PER_BLOCK = 8192


def log_columns(rows: int) -> dict[str, np.ndarray]:
    """Return the four columns of a mapped log: ids by popularity, float ratings, unix seconds."""
    events = make_events(populate(users=100_000, items=20_000, seed=7), 0, rows, rows)
    return {"user_id": events.user, "item_id": events.item, "rating": events.rating, "timestamp": events.timestamp}


def write_vectorised(columns: dict[str, np.ndarray], path: Path) -> None:
    """Write one Example per row with the encoder under test, a block at a time as the pipeline does."""
    storages = {"user_id": "u24", "item_id": "u16", "rating": "f16", "timestamp": "u32"}
    features = tuple(
        Feature(
            name=name,
            role="feature",
            dtype="float32" if storage == "f16" else "int64",
            storage=storage,
            statistics=Statistics(rows=0, nulls=0, values=0),
        )
        for name, storage in storages.items()
    )
    rows = len(columns["user_id"])
    with path.open("wb") as file:
        for start in range(0, rows, ROWS_PER_BLOCK):
            stop = min(rows, start + ROWS_PER_BLOCK)
            values = [Values(columns[feature.name][start:stop]) for feature in features]
            file.write(encode_examples(features, values, stop - start)[0])


def write_loop(columns: dict[str, np.ndarray], path: Path) -> None:
    """Write one Example per row the way tutorials do."""
    lists = {name: column.tolist() for name, column in columns.items()}
    with tf.io.TFRecordWriter(str(path)) as writer:
        for user, item, rating, timestamp in zip(*lists.values(), strict=True):
            feature = {
                "user_id": tf.train.Feature(int64_list=tf.train.Int64List(value=[user])),
                "item_id": tf.train.Feature(int64_list=tf.train.Int64List(value=[item])),
                "rating": tf.train.Feature(float_list=tf.train.FloatList(value=[rating])),
                "timestamp": tf.train.Feature(int64_list=tf.train.Int64List(value=[timestamp])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))


def seconds(write: Callable[[dict[str, np.ndarray], Path], None], columns: dict[str, np.ndarray], path: Path) -> float:
    """Return how long one run takes."""
    started = time.perf_counter()
    write(columns, path)
    return time.perf_counter() - started


def main() -> None:
    """Run both sides in turn and print rows per second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the vectorised side")
    parser.add_argument("--loop-rows", type=int, default=50_000, help="rows of the loop, which is slow")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    many, few = log_columns(arguments.rows), log_columns(arguments.loop_rows)
    with tempfile.TemporaryDirectory() as folder:
        ours_path, loop_path = Path(folder) / "ours", Path(folder) / "loop"
        write_vectorised(few, ours_path)
        write_loop(few, loop_path)
        if ours_path.read_bytes() != loop_path.read_bytes():
            raise SystemExit("the two sides wrote different bytes: nothing to compare")
        runs = [
            (seconds(write_vectorised, many, ours_path), seconds(write_loop, few, loop_path))
            for _ in range(arguments.runs)
        ]
    ours = arguments.rows / statistics.median(run[0] for run in runs)
    loop = arguments.loop_rows / statistics.median(run[1] for run in runs)
    print(f"vectorised encoder       {ours:>12,.0f} rows/s")
    print(f"Example + TFRecordWriter {loop:>12,.0f} rows/s")
    print(f"ratio {ours / loop:.1f} (target: at least {TARGET_RATIO}); equal bytes, one thread, {arguments.runs} runs")


if __name__ == "__main__":
    main()
