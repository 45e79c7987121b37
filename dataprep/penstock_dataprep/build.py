"""Build a dataset: check everything that can be known to fail, reuse what is published, run the job."""

import contextlib
from dataclasses import replace
from pathlib import Path

import penstock_dataprep
from penstock_dataprep.engine.dataflow import check_places, is_dataflow
from penstock_dataprep.engine.refusal import FILE_NAME
from penstock_dataprep.engine.runner import run_job
from penstock_dataprep.job import Job
from penstock_dataprep.plan import plan
from penstock_dataprep.progress import BOARD, shown
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.storage.files import exists, make_folder, plain, read_bytes, remove, remove_unfinished
from penstock_dataprep.storage.lock import claimed, exclusive
from penstock_dataprep.storage.memo import forget_unflushed
from penstock_dataprep.storage.scratch import runs_here
from penstock_shared.errors import DataRefused, PenstockError, UserMistake
from penstock_shared.manifest import load_manifest


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
    if is_dataflow(job.runner):
        check_places(job, is_out_given=True)
    if exists(job.manifest_path):
        load_manifest(read_bytes(job.manifest_path), job.manifest_path)
        return job.manifest_path, True
    make_folder(job.base)
    try:
        with exclusive(job.lock_folder), claimed(job.folder, penstock_dataprep.__version__):
            reused = exists(job.manifest_path)  # A build that held the lock until now may have made it.
            if not reused:
                _build_locked(job, runner_flags)
            job.scratch.remove()
            remove(job.lock_folder)
    finally:
        _remove_if_empty(job.scratch_root)
        _remove_if_empty(job.lock_folder.rpartition("/")[0])
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
        with shown(BOARD) if runs_here(job.runner) else contextlib.nullcontext():
            run_job(job, runner_flags)
    except (UserMistake, DataRefused):
        # What forbids to publish may forbid to clear away too; and another build may have published the version.
        with contextlib.suppress(PenstockError):
            job.scratch.remove()
            remove(job.lock_folder)
            if not exists(job.manifest_path):
                remove(job.folder)
        raise


def _pinned(job: Job) -> Job:
    """Return the job with all that its attempts must agree on."""
    name = "log" if job.table is None else f"table.{job.table}"
    tables = tuple(_pinned(table) for table in job.tables)
    return replace(job, origin=job.origin.pinned(job.scratch, name), tables=tables)


def _remove_if_empty(folder: str) -> None:
    if "://" not in folder:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
