"""Build a dataset with Beam's own BigQuery reader: a Python dict per row, then Penstock's steps from validation on.

Runs in the environment of requirements/dataflow.txt, against the emulators that the environment variables name.

    python benchmarks/beam_bigquery.py SPEC OUT
"""

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.gcp import bigquery
from beam_emulators import point_beam_at_emulators

from penstock_dataprep import pipeline, steps
from penstock_dataprep.build import build
from penstock_dataprep.job import Job
from penstock_dataprep.phases import Intake, step_of
from penstock_dataprep.rows.elements import ReadBatch, ValidBatch
from penstock_dataprep.sources import SourceBatch
from penstock_dataprep.spec.spec import load_spec

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


def main() -> None:
    """Build the dataset of a spec."""
    spec, out = sys.argv[1:]
    point_beam_at_emulators()
    pipeline.take_in = take_in
    path, _ = build(load_spec(spec, Path(spec).read_text()), out, [])
    print(path)


if __name__ == "__main__":
    main()
