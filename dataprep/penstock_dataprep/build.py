"""Build a dataset: check everything that can be known to fail, reuse what is published, run the job."""

import concurrent.futures
import contextlib
import datetime
import difflib
import io
import logging
import os
import re
from collections import Counter
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
from penstock_dataprep.parent import check_files, check_parent, check_targets
from penstock_dataprep.progress import BOARD, shown
from penstock_dataprep.refusal import FILE_NAME, noted
from penstock_dataprep.scratch import scratch_root
from penstock_dataprep.sources import FORMATS, ROW_COLUMN, Unit, with_row_column
from penstock_dataprep.spec import Spec
from penstock_dataprep.storage import (
    exists,
    filesystem,
    glob,
    join,
    make_folder,
    plain,
    reaching,
    read_bytes,
    remove,
    remove_unfinished,
)
from penstock_dataprep.targets import Target, resolve_targets
from penstock_shared.digests import fingerprint
from penstock_shared.errors import DataRefused, PenstockError, UserMistake
from penstock_shared.layout import LAYOUT_VERSION
from penstock_shared.manifest import load_manifest
from penstock_shared.origin import SourceFile

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
    BOARD.clear()
    BOARD.start("read", job.rows_expected)
    try:
        with shown(BOARD):
            _run(job, runner_flags)
    except (UserMistake, DataRefused):
        job.scratch.remove()
        if not exists(job.manifest_path):  # Another build may have published the version.
            remove(job.folder)
        raise


def plan(spec: Spec, root: str, runner_flags: list[str], append_to: str | None, scratch: str | None) -> Job:
    """Find the files of the log and of the tables, check their columns against the spec and cut them into work."""
    runner = _check_runner(_options(runner_flags))
    parent = None if append_to is None else check_parent(spec, append_to, root)
    log = _read_schema(spec)
    tokens = {target.name: target.dtype for target in log.targets}
    specs = {name: spec.table_log(name, tokens[name]) for name in spec.tables}
    tables = {name: _read_table_schema(held, name) for name, held in specs.items()}
    document: dict[str, Any] = {
        "spec": spec.model_dump(mode="json", by_alias=True),
        "source": [file.model_dump() for file in log.files],
        "tables": {name: [file.model_dump() for file in held.files] for name, held in tables.items()},
        "layout_version": LAYOUT_VERSION,
    }
    if parent is not None:
        if ROW_COLUMN in log.source_columns:
            raise UserMistake(
                f"columns: {ROW_COLUMN} counts from 1 in each file, so it does not order the new rows after those of "
                f"version {parent.version}; take a column that tells the time"
            )
        check_targets(log.outputs, parent)
        check_files(log.files, parent, join(root, spec.name))
        document["parent"] = {"version": parent.version, "digest": parent.digest}
    request = fingerprint(document)
    created = datetime.datetime.now(datetime.timezone.utc).isoformat()

    def job_of(spec: Spec, schema: _Schema, table: str | None, tables: tuple[Job, ...]) -> Job:
        return Job(
            spec=spec,
            **schema._asdict(),
            rows_expected=None,
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


class _Schema(NamedTuple):
    """Hold what is known of a source before it is read."""

    targets: tuple[Target, ...]
    outputs: tuple[Target, ...]
    source_columns: dict[str, str]
    files: tuple[SourceFile, ...]
    units: tuple[Unit, ...]


def _read_table_schema(spec: Spec, table: str) -> _Schema:
    try:
        return _read_schema(spec)
    except (UserMistake, DataRefused) as fault:
        # A table is read as if it were a log, but the user finds it elsewhere in the spec.
        text = str(fault).replace(f"columns.{table}.", f"tables.{table}.columns.")
        text = text.replace(f"columns.{table}:", f"tables.{table}.key:")
        raise type(fault)(re.sub(r"^source\.", f"tables.{table}.source.", text)) from None


def _read_schema(spec: Spec) -> _Schema:
    source = spec.source
    files = tuple(found for pattern in source.patterns for found in _list_files(plain(pattern)))
    for path, times in Counter(file.path for file in files).items():
        if times > 1:
            raise UserMistake(f"source.files: {path} is named {times} times; its rows would be read as often")
    read_format = FORMATS[source.format]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        columns = list(pool.map(lambda file: with_row_column(read_format.columns(file.path, source), file.path), files))
        targets = resolve_targets(spec, columns[0], files[0].path)
        for file, found in zip(files[1:], columns[1:], strict=True):
            if resolve_targets(spec, found, file.path) != targets:
                raise UserMistake(
                    f"{file.path}: its column types differ from those of {files[0].path}; set their dtype"
                )
        units = [
            unit for found in pool.map(lambda file: read_format.units(file.path, file.bytes), files) for unit in found
        ]
    used = {target.source for target in targets}
    if ROW_COLUMN in used and len(files) > 1:
        raise UserMistake(
            f"columns: {ROW_COLUMN} counts from 1 in each file, so it orders no rows of different files, and "
            f"source.files names {len(files)}; join them into one file, or take a column that tells the time"
        )
    return _Schema(
        targets=targets,
        outputs=output_targets(spec, targets),
        source_columns={name: str(found or "text") for name, found in columns[0].items() if name in used},
        files=files,
        # Heavy units first, so that a runner that deals them out in turn gives all workers as much.
        units=tuple(sorted(units, key=lambda unit: (-unit.weight, unit.path, unit.first_row))),
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


def _list_files(pattern: str) -> list[SourceFile]:
    system, inner = filesystem(pattern)
    paths = glob(pattern) if any(mark in inner for mark in "*?[") else [pattern]
    if "://" not in pattern and not Path(pattern).is_absolute():
        paths = [os.path.relpath(path) for path in paths]
    if not paths:
        raise UserMistake(
            f"source.files: nothing matches {pattern}; is it relative to the folder you run the command in?"
        )
    found = []
    for path in paths:
        try:
            with reaching(pattern):
                info = system.info(path)
        except FileNotFoundError:
            raise UserMistake(f"source.files: {pattern} does not exist (looked from {Path.cwd()})") from None
        except PermissionError:
            raise UserMistake(f"source.files: {pattern}: permission denied") from None
        if info["type"] == "directory":
            raise UserMistake(
                f"source.files: {pattern} is a folder; name its files, for example {pattern.rstrip('/')}/*"
            )
        modified = info.get("generation") or info.get("etag") or info.get("mtime") or info.get("updated") or ""
        found.append(SourceFile(path=path, bytes=int(info["size"]), modified=str(modified)))
    if sum(file.bytes for file in found) == 0:
        raise DataRefused(f"source.files: {pattern} is empty; expected rows")
    return found


def _remove_if_empty(folder: str) -> None:
    if "://" not in folder:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
