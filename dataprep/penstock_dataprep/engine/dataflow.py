"""Send a job to Google Cloud Dataflow: what it must be told, what its workers install, what its faults mean.

Dataflow finds most mistakes when its workers have started, minutes later. What can be known before is refused here.
"""

import contextlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, SetupOptions, WorkerOptions

from penstock_dataprep.engine.wheels import pack
from penstock_dataprep.job import Job
from penstock_dataprep.storage.files import is_local, join
from penstock_dataprep.storage.scratch import runner_kind
from penstock_shared.errors import PenstockError, UserMistake

# A step has a thread for each core of a worker, and takes the memory for that once.
ONE_PROCESS = "--experiments=no_use_multiple_sdk_containers"


def is_dataflow(runner: str) -> bool:
    """Tell whether a runner, as flags name it, is Dataflow."""
    return runner_kind(runner) == "dataflowrunner"


def check_options(options: PipelineOptions, default_region: Callable[[], str | None]) -> None:
    """Raise UserMistake where the client of Dataflow is not installed, or is not told where jobs run and who pays."""
    try:
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError:
        raise UserMistake(
            "--runner=DataflowRunner: its client is not installed here; run .dataflow/bin/penstock-data, which "
            "`make dataflow` makes, or pip install 'penstock-dataprep[dataflow]'"
        ) from None
    cloud = options.view_as(GoogleCloudOptions)
    if cloud.template_location:
        raise UserMistake("--template_location: a template runs later, but build ends with a dataset; leave it out")
    if not cloud.project:
        raise UserMistake("--project: missing; expected, after --, the project whose Dataflow runs the job")
    if not (cloud.region or default_region()):
        raise UserMistake(
            "--region: missing; expected, after --, the region of the workers, best that of source and bucket"
        )


def check_places(job: Job, is_out_given: bool) -> None:
    """Raise UserMistake where workers, which are on other machines, would not find what to read, or where to write."""
    if is_out_given and is_local(job.base):
        raise UserMistake(
            f"--out: {job.base} is on this machine, which Dataflow's workers do not see; give a gs:// URL"
        )
    for held in (job, *job.tables):
        if held.spec.source.kind == "files" and is_local(held.units[0].path):
            raise UserMistake(
                f"{held.spec.source.place}: on this machine, which Dataflow's workers do not see; copy the files to a "
                "bucket"
            )


@contextlib.contextmanager
def completed(job: Job, flags: list[str]) -> Iterator[list[str]]:
    """Yield flags with all that they leave open: a name, a place for Beam's files, and our packages for the workers.

    The name is that of the build, of which Dataflow runs one job at a time. Who names an image or packages of their
    own is taken to have ours in it.
    """
    options = PipelineOptions(flags)
    cloud, setup = options.view_as(GoogleCloudOptions), options.view_as(SetupOptions)
    added = [ONE_PROCESS]
    if not cloud.job_name:
        added.append(f"--job_name={job_name(job)}")
    if not cloud.temp_location and not cloud.staging_location:
        added.append(f"--temp_location={join(job.scratch.folder, 'dataflow')}")
    brings_packages = (
        options.view_as(WorkerOptions).sdk_container_image,
        setup.extra_packages,
        setup.setup_file,
        setup.requirements_file,
    )
    with tempfile.TemporaryDirectory() as folder:
        if not any(brings_packages):
            added += [f"--extra_package={wheel}" for wheel in pack(Path(folder))]
        yield [*flags, *added]


def job_name(job: Job) -> str:
    """Return the name of a build's job, as Dataflow spells names."""
    return f"penstock-{re.sub('[^a-z0-9]+', '-', job.spec.name.lower()).strip('-')}-{job.version}"


def announce(running: Any, flags: list[str]) -> None:
    """Say on standard error which job runs, and where it can be watched."""
    cloud = PipelineOptions(flags).view_as(GoogleCloudOptions)
    where = f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{running.job_id()}?project={cloud.project}"
    print(f"Dataflow job {running.job_id()} goes on if this command ends: {where}", file=sys.stderr, flush=True)


def explain(fault: Exception) -> PenstockError | None:
    """Return the error to raise for what Dataflow answered, None for other faults.

    It is no UserMistake, after which a build clears away what an earlier attempt finished: the job may be running.
    """
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
    from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError
    from apitools.base.py.exceptions import Error as ClientFault
    from apitools.base.py.exceptions import HttpError
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    said = " ".join(str(fault).split())
    if isinstance(fault, DataflowJobAlreadyExistsError):
        return PenstockError(f"Dataflow runs this build already: {said} Wait for it, or cancel it first")
    if isinstance(fault, DataflowRuntimeException):
        return PenstockError(f"Dataflow ended the job: {said}; run the same command again to go on from here")
    if isinstance(fault, HttpError) and fault.status_code == 403:
        return PenstockError(
            f"Dataflow: permission denied: {fault.content.decode(errors='replace')}; the account needs the roles "
            "Dataflow Developer and Service Account User, and the project the Dataflow API"
        )
    if isinstance(fault, (ClientFault, GoogleAPIError, GoogleAuthError)):
        return PenstockError(f"Dataflow: the job was not started: {said}")
    return None
