"""Prepare a log with TensorFlow Transform on Beam's in-process runner: the job of benchmarks/prepare.py's spec.

Columnar as far as TensorFlow Transform is: record batches in and out of the transform, one tf.Example per row after.

    .peers/bin/python benchmarks/tft_prepare.py LOG OUT --test-from TIME
"""

import argparse
import os
import tempfile
from collections.abc import Iterator

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig
from tfx_bsl.tfxio.tf_example_record import TFExampleBeamRecord

ROWS_PER_BATCH = 8192
TRAIN_SHARDS, TEST_SHARDS = 16, 2
FIRST_TOKEN_ID, MIN_COUNT = 3, 2
VALUE_TYPES = {"user_id": pa.large_binary(), "item_id": pa.int64(), "rating": pa.float32(), "timestamp": pa.int64()}
TENSOR_TYPES = {"user_id": tf.string, "item_id": tf.int64, "rating": tf.float32, "timestamp": tf.int64}
SCHEMA = schema_utils.schema_from_feature_spec({name: tf.io.FixedLenFeature([], t) for name, t in TENSOR_TYPES.items()})


def batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """Yield the rated rows as the lists of one value that TensorFlow Transform takes."""
    rated = table.filter(pc.is_valid(table["rating"])).combine_chunks()
    for batch in rated.to_batches(max_chunksize=ROWS_PER_BATCH):
        offsets = pa.array(range(batch.num_rows + 1), pa.int64())
        lists = [
            pa.LargeListArray.from_arrays(offsets, batch.column(name).cast(kind)) for name, kind in VALUE_TYPES.items()
        ]
        yield pa.RecordBatch.from_arrays(lists, names=list(VALUE_TYPES))


def transform(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Map both id columns by the rank of their counts."""
    ids = {
        name: FIRST_TOKEN_ID
        + tft.compute_and_apply_vocabulary(
            columns[name], default_value=-1, frequency_threshold=MIN_COUNT, vocab_filename=name
        )
        for name in ("user_id", "item_id")
    }
    return {**ids, "rating": columns["rating"], "timestamp": columns["timestamp"]}


class Encode(beam.DoFn):
    """Encode the rows of a batch whose time is on one side of the cut."""

    def __init__(self, test_from: int, wants_test: bool) -> None:
        self.test_from, self.wants_test = test_from, wants_test

    def setup(self) -> None:
        """Make the encoder, which cannot be pickled."""
        self.encoder = RecordBatchToExamplesEncoder()

    def process(self, element: object) -> Iterator[bytes]:
        """Yield an Example per row."""
        batch = element[0] if isinstance(element, tuple) else element
        is_test = pc.greater_equal(batch.column(batch.schema.get_field_index("timestamp")).flatten(), self.test_from)
        kept = batch.filter(is_test if self.wants_test else pc.invert(is_test))
        if kept.num_rows:
            yield from self.encoder.encode(kept)


def main() -> None:
    """Prepare a log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log")
    parser.add_argument("out")
    parser.add_argument("--test-from", type=int, required=True)
    arguments = parser.parse_args()
    out = arguments.out
    lists = pa.schema([(name, pa.large_list(kind)) for name, kind in VALUE_TYPES.items()])
    record = TFExampleBeamRecord(physical_format="inmem", schema=SCHEMA, telemetry_descriptors=["benchmark"])
    config = TensorAdapterConfig(lists, record.TensorRepresentations())
    options = PipelineOptions(["--runner=FnApiRunner"])
    with (
        tempfile.TemporaryDirectory() as folder,
        beam.Pipeline(options=options) as pipeline,
        tft_beam.Context(temp_dir=folder, desired_batch_size=ROWS_PER_BATCH),
    ):
        tables = pipeline | beam.io.ReadFromParquetBatched(f"{arguments.log}/*.parquet")
        raw = tables | beam.FlatMap(batches)
        (data, _), function = (raw, config) | tft_beam.AnalyzeAndTransformDataset(transform, output_record_batches=True)
        _ = function | tft_beam.WriteTransformFn(f"{out}/transform_fn")
        for name, shards in (("train", TRAIN_SHARDS), ("test", TEST_SHARDS)):
            write = beam.io.WriteToTFRecord(f"{out}/{name}", file_name_suffix=".tfrecord", num_shards=shards)
            _ = (
                data
                | f"Encode {name}" >> beam.ParDo(Encode(arguments.test_from, name == "test"))
                | f"Shuffle {name}" >> beam.Reshuffle()
                | f"Write {name}" >> write
            )


if __name__ == "__main__":
    main()
