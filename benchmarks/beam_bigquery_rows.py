"""Prepare a BigQuery table with Beam's own reader and the row-wise steps of beam_prepare.py: a dict per row throughout.

Runs in the environment of `make peers`, against the emulators that the environment variables name.

    python benchmarks/beam_bigquery_rows.py PROJECT.DATASET.TABLE OUT TEST_FROM
"""

import sys

import apache_beam as beam
from apache_beam.io.gcp.bigquery import ReadFromBigQuery
from apache_beam.options.pipeline_options import PipelineOptions
from beam_emulators import point_beam_at_emulators
from beam_prepare import write


def main() -> None:
    """Prepare a table."""
    name, out, test_from = sys.argv[1:]
    project, dataset, table = name.split(".")
    point_beam_at_emulators()
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        read = ReadFromBigQuery(
            project=project, table=f"{project}:{dataset}.{table}", method=ReadFromBigQuery.Method.DIRECT_READ
        )
        write(pipeline | read, out, int(test_from))


if __name__ == "__main__":
    main()
