"""Tell, in seconds and without a job, what a build would read, make, take and cost, and what would hurt later."""

from dataclasses import dataclass

from apache_beam.options.pipeline_options import PipelineOptions

from penstock_dataprep.engine.dataflow import check_places, is_dataflow
from penstock_dataprep.forecast.cost import cost
from penstock_dataprep.forecast.estimate import estimate
from penstock_dataprep.forecast.line import Line
from penstock_dataprep.forecast.locations import bucket_location, location_warnings
from penstock_dataprep.forecast.prices import Assumption, assume
from penstock_dataprep.forecast.sampled import measure_sample
from penstock_dataprep.forecast.warn import space_warning, warnings_of
from penstock_dataprep.forecast.writable import check_writable, free_bytes
from penstock_dataprep.job import Job
from penstock_dataprep.plan import plan
from penstock_dataprep.sources import Unit
from penstock_dataprep.sources.survey import Survey
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.storage.files import exists, plain

ROWS_SAMPLED = 100_000


@dataclass(frozen=True)
class Forecast:
    """Hold what a build would do: `checks` are what was found right, `lines` the arithmetic.

    `manifest` is where the dataset would be, None where no folder was given, and `is_built` whether it is there.
    """

    name: str
    version: str | None
    manifest: str | None
    is_built: bool
    checks: tuple[str, ...]
    lines: tuple[Line, ...]
    warnings: tuple[str, ...]
    assumptions: dict[str, Assumption]


def forecast(
    spec: Spec,
    root: str | None,
    runner_flags: list[str],
    append_to: str | None = None,
    scratch: str | None = None,
    assumed: tuple[str, ...] = (),
) -> Forecast:
    """Return what a build with these arguments would do.

    Raises UserMistake and DataRefused as the build would, for all that can be known before a row is read.
    """
    options = PipelineOptions(runner_flags).get_all_options()
    assumptions = assume(assumed, options["max_num_workers"])
    job = plan(spec, plain(root or "."), runner_flags, append_to, scratch)
    if is_dataflow(job.runner):
        check_places(job, is_out_given=root is not None)
    if root is not None:
        check_writable(job.base)
    taken = sorted({target.source for target in job.targets})
    survey = job.origin.survey(taken)
    rows = survey.rows or 0
    rows_from = survey.rows_from if survey.rows is not None else "not known before the query runs, so taken as none"
    sampled = measure_sample(job.origin.sample(taken, ROWS_SAMPLED), job.targets)
    vocabularies = spec.vocabularies()
    size = estimate(spec, job.outputs, vocabularies, sampled, rows, rows_from)
    lines = [*size.lines, Line("bytes scanned", survey.bytes_scanned, "bytes", survey.bytes_from)]
    if survey.bytes_queried:
        lines.append(Line("bytes queried", survey.bytes_queried, "bytes", "dry run of the query"))
    for table in job.tables:
        entities = table.origin.survey(sorted({target.source for target in table.targets}))
        lines.append(Line(f"rows of table {table.table}", entities.rows or 0, "rows", entities.rows_from))
    is_bigquery = spec.source.kind == "bigquery"
    lines += cost(
        rows, size.values_per_row, size.bytes, survey.bytes_scanned, survey.bytes_queried, is_bigquery, assumptions
    )
    wider = max(1.0, size.values_per_row / assumptions["columns_measured"].value)
    scratch_bytes = rows * assumptions["scratch_bytes_per_row"].value * wider
    how = f"{rows:,.0f} rows x scratch_bytes_per_row {assumptions['scratch_bytes_per_row'].value:g} x {wider:.2f}"
    lines.append(Line("scratch files", scratch_bytes, "bytes", f"{how}, until the dataset is published"))
    places = _places(job, survey, root, options["region"])
    warnings = [*warnings_of(spec, job.targets, vocabularies, survey.nullable, sampled, rows)]
    if spec.source.bigquery is not None and spec.source.bigquery.query is not None and not sampled.rows:
        warnings.append("source.bigquery.query: its rows are not known before it runs, so nothing was sampled")
    if root is not None and (free := free_bytes(job.scratch_root)) is not None:
        warnings += space_warning(job.scratch_root, scratch_bytes + size.bytes, free)
    return Forecast(
        name=spec.name,
        version=job.version if root is not None else None,
        manifest=job.manifest_path if root is not None else None,
        is_built=root is not None and exists(job.manifest_path),
        checks=tuple(_checks(job, survey, root, places, sampled.rows)),
        lines=tuple(lines),
        warnings=(*location_warnings(places), *warnings),
        assumptions=assumptions,
    )


def _places(job: Job, survey: Survey, root: str | None, region: str | None) -> list[tuple[str, str]]:
    """Return (what, location) of all that has a place in the cloud: the source, the output, the workers."""
    places = list(survey.locations)
    units: tuple[Unit, ...] = job.origin.units
    for what, url in (("bucket of the source", units[0].path if units else ""), ("bucket of --out", root or "")):
        if url and (location := bucket_location(url)) is not None:
            places.append((what, location))
    return [*places, ("workers' --region", region)] if region else places


def _checks(job: Job, survey: Survey, root: str | None, places: list[tuple[str, str]], rows_sampled: int) -> list[str]:
    tables = f", and of {len(job.tables)} entity table(s)" if job.tables else ""
    found = [f"the spec's {len(job.targets)} columns fit the source's{tables}", "the source can be read"]
    if rows_sampled:
        found.append(f"{rows_sampled:,} rows were read as a sample")
    if root is not None:
        found.append(f"{job.base} can be written")
    return [*found, *(f"{what} lies in {location}" for what, location in places)]
