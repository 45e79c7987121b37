"""Build a dataset with Beam's own BigQuery reader: a Python dict per row, then Penstock's steps from validation on.

Runs in the environment of requirements/beam-gcp.txt, against the emulators that the environment variables name. Beam
has no setting for their addresses, so its clients are replaced here.

    python benchmarks/beam_bigquery.py SPEC OUT
"""

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
import numpy as np
import pyarrow as pa
from apache_beam.internal.gcp import auth
from apache_beam.io.gcp import bigquery, bigquery_tools
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

from penstock_dataprep import pipeline, steps
from penstock_dataprep.build import build
from penstock_dataprep.elements import ReadBatch, ValidBatch
from penstock_dataprep.job import Job
from penstock_dataprep.phases import Intake, step_of
from penstock_dataprep.sources import SourceBatch
from penstock_dataprep.spec import load_spec

ROWS_PER_BATCH = 1 << 16


class ToBatch(beam.DoFn):
    """Make an Arrow batch of a list of dicts."""

    def process(self, rows: list[dict[str, Any]]) -> Iterator[ReadBatch]:
        """Yield one batch under a name of its own."""
        batch = pa.RecordBatch.from_pylist(rows)
        yield ReadBatch(uuid.uuid4().hex, SourceBatch("table", batch, np.arange(batch.num_rows)))


def take_in(root: beam.Pipeline, job: Job) -> Intake:
    """Read rows as Beam does, and validate and stage them as Penstock does."""
    held, step = job.spec.source.bigquery, step_of(job)
    project, dataset, table = held.table.split(".")
    staged, facts = (
        root
        | bigquery.ReadFromBigQuery(
            project=project,
            table=f"{project}:{dataset}.{table}",
            method=bigquery.ReadFromBigQuery.Method.DIRECT_READ,
            selected_fields=[target.source for target in job.targets],
            use_native_datetime=os.environ.get("BEAM_FORMAT") == "ARROW",
        )
        | beam.BatchElements(ROWS_PER_BATCH, ROWS_PER_BATCH)
        | beam.ParDo(ToBatch()).with_output_types(ReadBatch)
        | "Validate" >> step(steps.intake.validate).with_output_types(ValidBatch)
        | "Stage" >> step(steps.intake.stage).with_outputs("facts", main="staged")
    )
    merged = facts | beam.CombineGlobally(steps.intake.merge_facts)
    return Intake(staged, merged | "Judge" >> step(steps.intake.judge))


def point_beam_at_emulators() -> None:
    """Replace what makes Beam's clients."""
    rest = os.environ["BIGQUERY_EMULATOR_HOST"]
    auth._Credentials._credentials_init, auth._Credentials._credentials = True, None
    made = bigquery_tools.bigquery.BigqueryV2.__init__

    def make(self: Any, *arguments: Any, **settings: Any) -> None:
        made(self, *arguments, **(settings | {"url": f"{rest}/bigquery/v2/", "get_credentials": False}))

    bigquery_tools.bigquery.BigqueryV2.__init__ = make
    # It lists the datasets of a label, which the emulator ignores, and deletes them.
    bigquery_tools.BigQueryWrapper._clean_up_beam_labelled_temporary_datasets = lambda *_, **__: None
    client = bigquery.bq_storage.BigQueryReadClient
    options = [("grpc.max_receive_message_length", -1)]
    bigquery.bq_storage.BigQueryReadClient = lambda: client(
        transport=BigQueryReadGrpcTransport(
            channel=grpc.insecure_channel(os.environ["BIGQUERY_STORAGE_EMULATOR_HOST"], options=options)
        )
    )


def main() -> None:
    """Build the dataset of a spec."""
    spec, out = sys.argv[1:]
    point_beam_at_emulators()
    pipeline.take_in = take_in
    path, _ = build(load_spec(spec, Path(spec).read_text()), out, [])
    print(path)


if __name__ == "__main__":
    main()
