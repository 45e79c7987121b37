"""Lay out the steps that read a BigQuery table, whose ranges a runner may split among workers while they are read.

A range that stays on one worker is handed on from there. The shares of one that was split lie in the scratch folder
until all have come, since only together they are sure to be its rows; then they are dealt to all workers.
"""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.core import RestrictionProvider

from penstock_dataprep.engine.dofn import Step, StepFunction
from penstock_dataprep.engine.refusal import reporting
from penstock_dataprep.job import Job
from penstock_dataprep.rows.elements import ReadBatch
from penstock_dataprep.sources import Unit
from penstock_dataprep.sources.bigquery.clients import read_client
from penstock_dataprep.sources.bigquery.halves import StreamSplitter
from penstock_dataprep.sources.bigquery.share import Share
from penstock_dataprep.sources.bigquery.tracker import ShareTracker
from penstock_dataprep.steps import shares


class ShareProvider(RestrictionProvider):
    """Tell Beam that a range is one share at first, and how to track a share."""

    def initial_restriction(self, element: tuple[int, Unit]) -> Share:
        """Return all of a range; no session is open before a worker reads it."""
        return Share()

    def create_tracker(self, restriction: Share) -> ShareTracker:
        """Return the tracker of a share."""
        return ShareTracker(restriction, StreamSplitter(read_client()))

    def restriction_size(self, element: tuple[int, Unit], restriction: Share) -> float:
        """Return about how many rows a share has."""
        return float(max(element[1].weight, 1) * restriction.weight)


SHARE = beam.DoFn.RestrictionParam(ShareProvider())


class SharedStep(Step):
    """Run a step that reads an element of which Beam may split off shares meanwhile."""

    def process(self, element: Any, claims: Any = SHARE) -> Iterator[Any]:
        """Yield what the step yields for what `claims` grants of `element`."""
        yield from reporting(self.function, self.job, element, (claims,))


def read_shared(job: Job, units: PCollection, prefix: str) -> dict[str, PCollection]:
    """Return the batches of ranges that one worker read, and as "Shared" those of ranges that were split.

    A range whose session expired after a split is read anew, and may be split again.
    """
    read, parts = units | f"{prefix}Read" >> _shared(shares.read, job).with_output_types(ReadBatch).with_outputs(
        "parts", main="read"
    )
    joined, lost = (
        parts
        | f"{prefix}GroupShares" >> beam.GroupByKey()
        | f"{prefix}JoinShares" >> beam.ParDo(Step(shares.join, job)).with_outputs("lost", main="joined")
    )
    joined_again = (
        lost
        | f"{prefix}ReadAgain" >> _shared(shares.read_again, job)
        | f"{prefix}GroupAgain" >> beam.GroupByKey()
        | f"{prefix}JoinAgain" >> beam.ParDo(Step(shares.join_again, job))
    )
    all_joined = (joined, joined_again) | f"{prefix}Joined" >> beam.Flatten()
    return {"": read, "Shared": all_joined | f"{prefix}DealShares" >> beam.Reshuffle()}


def _shared(function: StepFunction, job: Job) -> beam.ParDo:
    return beam.ParDo(SharedStep(function, job))
