"""Run a job on the Beam runner that its flags name, in this process where they name none."""

import contextlib
import difflib
import io
import logging
from collections.abc import Iterator

from apache_beam import Pipeline
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners import create_runner
from apache_beam.runners.runner import PipelineState

from penstock_dataprep import pipeline
from penstock_dataprep.engine import dataflow
from penstock_dataprep.engine.memory import freeze_what_is_loaded
from penstock_dataprep.engine.refusal import noted
from penstock_dataprep.engine.sampler import sample_often
from penstock_dataprep.engine.workers import WATCH
from penstock_dataprep.job import Job
from penstock_dataprep.storage.files import exists
from penstock_shared.errors import PenstockError, UserMistake

IN_PROCESS = ("--runner=FnApiRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1")


def check_runner(runner_flags: list[str]) -> str:
    """Return the runner's name. Raises UserMistake for a runner or an option that Beam does not know."""
    options = _options(runner_flags)
    known = options.get_all_options()
    unknown = options.get_all_options(retain_unknown_options=True).keys() - known.keys()
    if unknown:
        close = difflib.get_close_matches(min(unknown), known, n=1)
        hint = f"; did you mean --{close[0]}?" if close else ""
        raise UserMistake(f"--{min(unknown)}: not an option of Beam{hint}")
    name = str(known["runner"])
    try:
        runner = create_runner(name)
    except (ValueError, ImportError, AttributeError) as fault:
        raise UserMistake(f"--runner={name}: {fault}") from None
    if dataflow.is_dataflow(name):
        dataflow.check_options(options, runner.get_default_gcp_region)
    return name


def run_job(job: Job, runner_flags: list[str]) -> None:
    """Run a job's pipeline to its end. Raises what a worker refused, or PenstockError where nothing was published."""
    # The runner logs and prints a failed step's trace; what the user needs to know is in the refusal.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    freeze_what_is_loaded()
    sample_often()
    is_dataflow = dataflow.is_dataflow(job.runner)
    WATCH.clear()
    try:
        with _flags(job, runner_flags) as flags, contextlib.redirect_stderr(io.StringIO()):
            planned = Pipeline(options=_options(flags))
            pipeline.build(planned, job)
            running = planned.run()
        if is_dataflow:
            dataflow.announce(running, runner_flags)
        with contextlib.redirect_stderr(io.StringIO()):
            state = running.wait_until_finish()
    except Exception as fault:
        raise noted(job) or WATCH.loss() or (is_dataflow and dataflow.explain(fault)) or fault from None
    if state not in (None, PipelineState.DONE):
        raise noted(job) or PenstockError(f"the runner ended the job as {state}; see its log")
    if not exists(job.manifest_path):
        raise noted(job) or PenstockError(
            f"{job.manifest_path}: the job ended without publishing; see the runner's log"
        )


@contextlib.contextmanager
def _flags(job: Job, runner_flags: list[str]) -> Iterator[list[str]]:
    """Yield the flags with what the runner needs besides, while the job is sent to it."""
    if dataflow.is_dataflow(job.runner):
        with dataflow.completed(job, runner_flags) as flags:
            yield flags
    else:
        yield runner_flags


def _options(runner_flags: list[str]) -> PipelineOptions:
    names_runner = any(flag.partition("=")[0] == "--runner" for flag in runner_flags)
    own = [] if names_runner else list(IN_PROCESS)
    return PipelineOptions([*own, *runner_flags])
