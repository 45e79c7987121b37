"""Prepare a log with Apache Beam a row at a time, as tutorials do: the job of benchmarks/prepare.py's spec.

Rows are dicts, counting is Count.PerElement, the vocabularies are Python dicts handed round as side inputs, and each
row becomes a tf.train.Example.

    python benchmarks/beam_prepare.py LOG OUT --test-from TIME
"""

import argparse
import os
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton, PCollection

TRAIN_SHARDS, TEST_SHARDS = 16, 2
FIRST_TOKEN_ID, OOV_ID, MIN_COUNT = 3, 2, 2

Row = dict[str, Any]


def vocabulary(rows: PCollection, column: str) -> PCollection:
    """Return one dict from token to id."""
    return (
        rows
        | f"Tokens of {column}" >> beam.Map(lambda row: row[column])
        | f"Count {column}" >> beam.combiners.Count.PerElement()
        | f"Admit {column}" >> beam.Filter(lambda counted: counted[1] >= MIN_COUNT)
        | f"Gather {column}" >> beam.combiners.ToList()
        | f"Rank {column}" >> beam.Map(rank)
    )


def rank(counted: list[tuple[Any, int]]) -> dict[Any, int]:
    """Return the id of each token, by descending count and then by token."""
    ordered = sorted(counted, key=lambda pair: (-pair[1], pair[0]))
    return {token: place for place, (token, _) in enumerate(ordered, FIRST_TOKEN_ID)}


def map_row(row: Row, users: dict[Any, int], items: dict[Any, int]) -> Row:
    """Return a row with ids for its tokens."""
    return {**row, "user_id": users.get(row["user_id"], OOV_ID), "item_id": items.get(row["item_id"], OOV_ID)}


def to_example(row: Row) -> bytes:
    """Return a row as a serialised tf.train.Example."""
    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=[row[name]]))
        for name in ("user_id", "item_id", "timestamp")
    }
    features["rating"] = tf.train.Feature(float_list=tf.train.FloatList(value=[row["rating"]]))
    serialised: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialised


def write(read: PCollection, out: str, test_from: int) -> None:
    """Add the whole job after reading rows as dicts."""
    rows = read | "Rated" >> beam.Filter(lambda row: row["rating"] is not None)
    users, items = vocabulary(rows, "user_id"), vocabulary(rows, "item_id")
    mapped = rows | "Map" >> beam.Map(map_row, AsSingleton(users), AsSingleton(items))
    for name, shards, wants_test in (("train", TRAIN_SHARDS, False), ("test", TEST_SHARDS, True)):
        sink = beam.io.WriteToTFRecord(f"{out}/{name}", file_name_suffix=".tfrecord", num_shards=shards)
        _ = (
            mapped
            | f"Choose {name}" >> beam.Filter(lambda row, wanted: (row["timestamp"] >= test_from) == wanted, wants_test)
            | f"Shuffle {name}" >> beam.Reshuffle()
            | f"Encode {name}" >> beam.Map(to_example)
            | f"Write {name}" >> sink
        )


def main() -> None:
    """Prepare a log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log")
    parser.add_argument("out")
    parser.add_argument("--test-from", type=int, required=True)
    arguments = parser.parse_args()
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        rows = pipeline | beam.io.ReadFromParquet(f"{arguments.log}/*.parquet")
        write(rows, arguments.out, arguments.test_from)


if __name__ == "__main__":
    main()
