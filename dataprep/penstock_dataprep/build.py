"""Build a dataset: check everything that can be known to fail, reuse what is published, run the job."""

import contextlib
import datetime
import difflib
import io
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from apache_beam import Pipeline
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners import create_runner
from apache_beam.runners.runner import PipelineState

from penstock_dataprep import pipeline
from penstock_dataprep.job import Job
from penstock_dataprep.lock import exclusive
from penstock_dataprep.memo import forget_unflushed
from penstock_dataprep.memory import freeze_what_is_loaded
from penstock_dataprep.outputs import output_targets
from penstock_dataprep.parent import check_parent, check_source, check_targets
from penstock_dataprep.progress import BOARD, shown
from penstock_dataprep.refusal import FILE_NAME, noted
from penstock_dataprep.scratch import scratch_root
from penstock_dataprep.sources import ROW_COLUMN, SOURCES, Origin
from penstock_dataprep.spec import Spec
from penstock_dataprep.storage import exists, join, make_folder, plain, read_bytes, remove, remove_unfinished
from penstock_dataprep.targets import Target, resolve_targets
from penstock_shared.digests import fingerprint
from penstock_shared.errors import DataRefused, PenstockError, UserMistake
from penstock_shared.layout import LAYOUT_VERSION
from penstock_shared.manifest import load_manifest

VERSION_DIGITS = 12
IN_PROCESS = ("--runner=FnApiRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1")


def build(
    spec: Spec, root: str, runner_flags: list[str], append_to: str | None = None, scratch: str | None = None
) -> tuple[str, bool]:
    """Build the dataset of a spec under `root`; return (path of its manifest, whether it was there already).

    The rows are added to those of the manifest at `append_to`, where it is given.
    `runner_flags` are Beam pipeline options; none means Beam's in-process runner with a thread per core. `scratch` is
    a folder for intermediate files; scratch_root says where they go without it.
    Raises UserMistake before any work for what the spec or the source's schema rule out, DataRefused for data.
    """
    job = plan(spec, plain(root), runner_flags, append_to, scratch)
    if exists(job.manifest_path):
        load_manifest(read_bytes(job.manifest_path), job.manifest_path)
        return job.manifest_path, True
    make_folder(job.base)
    try:
        with exclusive(job.scratch.folder):
            reused = exists(job.manifest_path)  # A build that held the lock until now may have made it.
            if not reused:
                _build_locked(job, runner_flags)
            job.scratch.remove()
    finally:
        _remove_if_empty(job.scratch_root)
        _remove_if_empty(job.base)
    return job.manifest_path, reused


def _build_locked(job: Job, runner_flags: list[str]) -> None:
    """Run the job, going on from what an earlier attempt finished; a refusal leaves nothing behind."""
    forget_unflushed(job.scratch)
    remove(job.scratch.path(FILE_NAME))
    remove_unfinished(job.folder)
    job = _pinned(job)
    BOARD.clear()
    BOARD.start("read", job.origin.rows_expected)
    try:
        with shown(BOARD):
            _run(job, runner_flags)
    except (UserMistake, DataRefused):
        job.scratch.remove()
        if not exists(job.manifest_path):  # Another build may have published the version.
            remove(job.folder)
        raise


def _pinned(job: Job) -> Job:
    """Return the job with all that its attempts must agree on."""
    name = "log" if job.table is None else f"table.{job.table}"
    tables = tuple(_pinned(table) for table in job.tables)
    return replace(job, origin=job.origin.pinned(job.scratch, name), tables=tables)


def plan(spec: Spec, root: str, runner_flags: list[str], append_to: str | None, scratch: str | None) -> Job:
    """Find the sources of the log and of the tables, and check their columns against the spec."""
    runner = _check_runner(_options(runner_flags))
    parent = None if append_to is None else check_parent(spec, append_to, root)
    log = _read_schema(spec)
    tokens = {target.name: target.dtype for target in log.targets}
    specs = {name: spec.table_log(name, tokens[name]) for name in spec.tables}
    tables = {name: _read_table_schema(held, name) for name, held in specs.items()}
    document: dict[str, Any] = {
        "spec": spec.model_dump(mode="json", by_alias=True),
        "source": log.origin.identity(),
        "tables": {name: held.origin.identity() for name, held in tables.items()},
        "layout_version": LAYOUT_VERSION,
    }
    if parent is not None:
        if ROW_COLUMN in log.source_columns:
            raise UserMistake(
                f"columns: {ROW_COLUMN} counts from 1 in each file, so it does not order the new rows after those of "
                f"version {parent.version}; take a column that tells the time"
            )
        check_targets(log.outputs, parent)
        check_source(log.origin, parent, join(root, spec.name))
        document["parent"] = {"version": parent.version, "digest": parent.digest}
    request = fingerprint(document)
    created = datetime.datetime.now(datetime.timezone.utc).isoformat()

    def job_of(spec: Spec, schema: _Read, table: str | None, tables: tuple[Job, ...]) -> Job:
        return Job(
            spec=spec,
            **schema._asdict(),
            base=join(root, spec.name),
            scratch_root=scratch_root(join(root, spec.name), runner, plain(scratch) if scratch else None),
            version=request[:VERSION_DIGITS],
            fingerprint=request,
            created=created,
            runner=runner,
            append_to=append_to,
            table=table,
            tables=tables,
        )

    return job_of(spec, log, None, tuple(job_of(specs[name], held, name, ()) for name, held in tables.items()))


class _Read(NamedTuple):
    """Hold what is known of a source before it is read."""

    targets: tuple[Target, ...]
    outputs: tuple[Target, ...]
    origin: Origin
    source_columns: dict[str, str]


def _read_table_schema(spec: Spec, table: str) -> _Read:
    try:
        return _read_schema(spec)
    except (UserMistake, DataRefused) as fault:
        # A table is read as if it were a log, but the user finds it elsewhere in the spec.
        text = str(fault).replace(f"columns.{table}.", f"tables.{table}.columns.")
        text = text.replace(f"columns.{table}:", f"tables.{table}.key:")
        raise type(fault)(re.sub(r"^source\.", f"tables.{table}.source.", text)) from None


def _read_schema(spec: Spec) -> _Read:
    origin, schemas = SOURCES[spec.source.kind](spec)
    first = schemas[0]
    targets = resolve_targets(spec, first.columns, first.place)
    for other in schemas[1:]:
        if resolve_targets(spec, other.columns, other.place) != targets:
            raise UserMistake(f"{other.place}: its column types differ from those of {first.place}; set their dtype")
    used = {target.source for target in targets}
    return _Read(
        targets=targets,
        outputs=output_targets(spec, targets),
        origin=origin,
        source_columns={name: found for name, found in first.types.items() if name in used},
    )


def _run(job: Job, runner_flags: list[str]) -> None:
    # The runner logs and prints a failed step's trace; what the user needs to know is in the refusal.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    freeze_what_is_loaded()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            running = Pipeline(options=_options(runner_flags))
            pipeline.build(running, job)
            state = running.run().wait_until_finish()
    except Exception as fault:
        raise noted(job) or fault from None
    if state not in (None, PipelineState.DONE):
        raise noted(job) or PenstockError(f"the runner ended the job as {state}; see its log")
    if not exists(job.manifest_path):
        raise noted(job) or PenstockError(
            f"{job.manifest_path}: the job ended without publishing; see the runner's log"
        )


def _options(runner_flags: list[str]) -> PipelineOptions:
    names_runner = any(flag.partition("=")[0] == "--runner" for flag in runner_flags)
    own = [] if names_runner else list(IN_PROCESS)
    return PipelineOptions([*own, *runner_flags])


def _check_runner(options: PipelineOptions) -> str:
    """Return the runner's name. Raises UserMistake for a runner or an option that Beam does not know."""
    known = options.get_all_options()
    unknown = options.get_all_options(retain_unknown_options=True).keys() - known.keys()
    if unknown:
        close = difflib.get_close_matches(min(unknown), known, n=1)
        hint = f"; did you mean --{close[0]}?" if close else ""
        raise UserMistake(f"--{min(unknown)}: not an option of Beam{hint}")
    name = str(known["runner"])
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as fault:
        raise UserMistake(f"--runner={name}: {fault}") from None
    return name


def _remove_if_empty(folder: str) -> None:
    if "://" not in folder:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
