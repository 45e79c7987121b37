"""Plan a build: find its sources, check their columns against the spec, and name the version it makes."""

import datetime
import re
from dataclasses import replace
from typing import NamedTuple

from penstock_dataprep.engine.runner import check_runner
from penstock_dataprep.job import Job
from penstock_dataprep.sources import SOURCES, Origin
from penstock_dataprep.sources.files import FilesOrigin
from penstock_dataprep.spec.outputs import output_targets
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.spec.targets import Target, resolve_targets
from penstock_dataprep.storage.files import join, plain
from penstock_dataprep.storage.scratch import scratch_root
from penstock_dataprep.versions.parent import check_parent, check_source, check_targets, last_place
from penstock_shared.digests import request_fingerprint, version_of
from penstock_shared.errors import DataRefused, UserMistake
from penstock_shared.origin import Parent


def plan(spec: Spec, root: str, runner_flags: list[str], append_to: str | None, scratch: str | None) -> Job:
    """Find the sources of the log and of the tables, and check their columns against the spec."""
    runner = check_runner(runner_flags)
    parent = None if append_to is None else check_parent(spec, append_to, root)
    log = _read_schema(spec)
    tokens = {target.name: target.dtype for target in log.targets}
    specs = {name: spec.table_log(name, tokens[name]) for name in spec.tables}
    tables = {name: _read_table_schema(held, name) for name, held in specs.items()}
    if parent is not None:
        check_targets(log.outputs, parent)
        check_source(log.origin, parent, join(root, spec.name))
        if isinstance(log.origin, FilesOrigin):
            log = log._replace(origin=replace(log.origin, last_place=last_place(log.outputs, parent)))
    request = request_fingerprint(
        spec.model_dump(mode="json", by_alias=True),
        log.origin.identity(),
        {name: held.origin.identity() for name, held in tables.items()},
        None if parent is None else Parent(version=parent.version, digest=parent.digest),
    )
    created = datetime.datetime.now(datetime.timezone.utc).isoformat()

    def job_of(spec: Spec, schema: _Read, table: str | None, tables: tuple[Job, ...]) -> Job:
        return Job(
            spec=spec,
            **schema._asdict(),
            base=join(root, spec.name),
            scratch_root=scratch_root(join(root, spec.name), runner, plain(scratch) if scratch else None),
            version=version_of(request),
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
