"""Copy a small part of a spec's sources to Parquet files, and make the spec that reads them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock_dataprep.job import Job
from penstock_dataprep.rehearsal.choose import choose_rows
from penstock_dataprep.rows.validate import convert
from penstock_dataprep.sources import Origin, SourceBatch
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.scratch import Scratch
from penstock_shared.errors import DataRefused

# Users are chosen from so many times the rows wanted, so that some have a history in them.
POOL = 50
KEY_COLUMN = "$key"


@dataclass(frozen=True)
class Sample:
    """Hold the spec of a rehearsal: `rows` of its log, of `users` users, and a `user` to recommend to."""

    spec: Spec
    rows: int
    users: int
    user: str | None
    notes: tuple[str, ...]


def take_sample(job: Job, rows: int, folder: Path) -> Sample:
    """Write a sample of about `rows` rows, and what entity tables say of them, under `folder`.

    A query is run, once, into the table where a build would find it. Raises DataRefused for a source without rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pool, notes = _read(job.origin, job.targets, rows * POOL, folder / "log.scratch")
    if pool.num_rows == 0:
        raise DataRefused(f"{job.spec.source.place}: no rows; there is nothing to rehearse with")
    user = next((target for target in job.targets if target.role == "user"), None)
    if user is None:
        places = np.arange(min(rows, pool.num_rows))
    else:
        places = choose_rows(_tokens(pool.column(user.name), user), rows)
    held = pool.take(pa.array(places))
    document = _document(job.spec, job.targets, _write(held, folder / "log.parquet"))
    users, someone = 0, None
    if user is not None:
        counted = pc.value_counts(_tokens(held.column(user.name), user).drop_null())
        users = len(counted)
        counts = counted.field("counts").to_numpy()
        someone = str(counted.field("values")[int(np.argmax(counts))].as_py()) if users else None
    for table in job.tables:
        notes += _take_table(table, held, job, rows, folder, document)
    return Sample(Spec.model_validate_json(json.dumps(document)), held.num_rows, users, someone, tuple(notes))


def _take_table(table: Job, log: pa.Table, job: Job, rows: int, folder: Path, document: dict[str, Any]) -> list[str]:
    """Write the rows of an entity table that are about tokens of the log's sample, and put it into the spec."""
    key, *others = table.targets
    pool, notes = _read(table.origin, table.targets, rows * POOL, folder / f"{table.table}.scratch")
    wanted = [_tokens(log.column(target.name), target) for target in job.targets if target.vocabulary == table.table]
    known = pa.chunked_array(wanted).unique()
    is_about = pc.is_in(_tokens(pool.column(key.name), key), value_set=known)
    held = pool.filter(is_about)
    notes.append(f"table {table.table}: {held.num_rows:,} of the first {pool.num_rows:,} rows are about the sample")
    # Without any row, a table has no columns to check: then some that are about no one rehearse their types.
    held = held if held.num_rows else pool.slice(0, 1000)
    short = [target.name.partition(".")[2] for target in others]
    path = _write(held.rename_columns([KEY_COLUMN, *short]), folder / f"{table.table}.parquet")
    described = document["tables"][table.table]
    described |= {"source": {"files": path, "format": "parquet"}, "key": KEY_COLUMN, "max_missing_fraction": None}
    described["limits"] = _without_shares(described["limits"])
    for name, target in zip(short, others, strict=True):
        _settle(described["columns"][name], target)
    return notes


def _read(origin: Origin, targets: tuple[Target, ...], rows: int, scratch: Path) -> tuple[pa.Table, list[str]]:
    """Return up to `rows` rows of a source as read, under the names of the spec's columns, and what was left out."""
    sources = sorted({target.source for target in targets})
    malformed = 0

    def batches() -> Iterator[SourceBatch]:
        nonlocal malformed
        for batch in origin.pinned(Scratch(str(scratch)), "rehearsal").sample(sources, rows):
            malformed += len(batch.malformed)
            yield batch

    found = [pa.Table.from_batches([batch.batch]) for batch in batches()]
    columns = {}
    for target in targets:
        chunks = [chunk for table in found for chunk in table.column(target.source).chunks]
        columns[target.name] = _alike(chunks)
    notes = [f"{malformed:,} malformed lines were left out of the sample"] if malformed else []
    return pa.table(columns), notes


def _alike(chunks: list[pa.Array]) -> pa.ChunkedArray:
    """Return chunks as a column; where JSON lines have other types in other places, as text."""
    chunks = [chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk for chunk in chunks]
    types = {chunk.type for chunk in chunks if not pa.types.is_null(chunk.type)}
    if not types:
        return pa.chunked_array([chunk.cast(pa.string()) for chunk in chunks], pa.string())
    wanted = types.pop() if len(types) == 1 else pa.string()
    return pa.chunked_array([chunk.cast(wanted) for chunk in chunks], wanted)


def _tokens(column: pa.ChunkedArray, target: Target) -> pa.Array:
    """Return the valid tokens of a column as a build has them, null for what cannot be one."""
    combined = column.combine_chunks()
    if pa.types.is_list(combined.type) or pa.types.is_large_list(combined.type):
        combined = combined.flatten()
    return convert(combined, target.value_type)[0]


def _write(table: pa.Table, path: Path) -> str:
    pq.write_table(table, path)
    return str(path)


def _document(spec: Spec, targets: tuple[Target, ...], path: str) -> dict[str, Any]:
    """Return the spec as a document that reads the sample: the same rules, but no limit that few rows would break."""
    document = spec.model_dump(mode="json", by_alias=True)
    document["source"] = {"files": path, "format": "parquet"}
    document["limits"] = _without_shares(document["limits"])
    document["keep_last"] = None
    for target in targets:
        _settle(document["columns"][target.name], target)
    return document


def _settle(column: dict[str, Any], target: Target) -> None:
    """Let a column of the sample have its own name, and the dtype that the source's type led to."""
    column |= {"from": None, "dtype": target.taken or target.dtype}


def _without_shares(limits: dict[str, Any]) -> dict[str, Any]:
    return {name: {**held, "max_oov_fraction": None, "max_stability_index": None} for name, held in limits.items()}
