"""Read one range of a table: in a session opened for it, all of its streams at once, each resumed where it broke.

Rows are handed on only when the whole range has come. The rows of a session come in an order of its own, so when a
session expires, all that it gave of the range is thrown away and the range is read anew: no row is lost or doubled.
"""

import datetime
import random
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient

from penstock_dataprep.sources.base import ROWS_PER_BATCH
from penstock_dataprep.sources.bigquery.batch import RawBatch
from penstock_dataprep.sources.bigquery.faults import ANY, PASSING, SESSION_LOST, explain
from penstock_dataprep.sources.bigquery.spool import Spool
from penstock_shared.errors import PenstockError

STREAMS_PER_SESSION = 8
SESSIONS_PER_RANGE = 4
# A stream that gives nothing for so many attempts in a row, about two minutes, is given up.
ATTEMPTS_WITHOUT_ROWS = 10
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 30.0
PLACE = "source.bigquery"


@dataclass(frozen=True)
class Request:
    """Say what to read: `columns` of the rows of `table` that `restriction` holds for, as it was at `snapshot_time`.

    `table` is project.dataset.table, `columns` are dotted paths, `parent` is the project that pays.
    """

    parent: str
    table: str
    columns: tuple[str, ...]
    restriction: str
    snapshot_time: datetime.datetime | None


class _SessionLostError(Exception):
    """Say that a session expired or is not known any more."""


def open_session(client: BigQueryReadClient, request: Request, described: str) -> types.ReadSession:
    """Return a new session for Arrow batches with compressed buffers.

    Raises UserMistake for what BigQuery refuses, where `described` says what was asked for.
    """
    project, dataset, table = request.table.rsplit(".", 2)
    compression = types.ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
    session = types.ReadSession(
        table=f"projects/{project}/datasets/{dataset}/tables/{table}",
        data_format=types.DataFormat.ARROW,
        read_options=types.ReadSession.TableReadOptions(
            selected_fields=request.columns,
            row_restriction=request.restriction,
            arrow_serialization_options=types.ArrowSerializationOptions(buffer_compression=compression),
        ),
        table_modifiers=types.ReadSession.TableModifiers(snapshot_time=request.snapshot_time),
    )
    try:
        return client.create_read_session(
            parent=f"projects/{request.parent}", read_session=session, max_stream_count=STREAMS_PER_SESSION
        )
    except ANY as fault:
        raise explain(fault, PLACE, described, "mend where, or snapshot_time") from None


def check_readable(client: BigQueryReadClient, request: Request) -> None:
    """Raise UserMistake where the request would be refused, by a session of none of its rows."""
    none = f"({request.restriction}) AND FALSE" if request.restriction else "FALSE"
    probe = Request(request.parent, request.table, request.columns, none, request.snapshot_time)
    for stream in open_session(client, probe, _described(request)).streams:
        try:
            for _ in client.read_rows(read_stream=stream.name, offset=0):
                pass
        except ANY as fault:
            raise explain(fault, PLACE, _described(request)) from None


def read_range(client: BigQueryReadClient, request: Request, place: str) -> Iterator[RawBatch]:
    """Yield the rows that a request asks for, or none of them before all have come; `place` names them."""
    for _ in range(SESSIONS_PER_RANGE):
        session = open_session(client, request, _described(request))
        with tempfile.TemporaryFile() as file:
            spool = Spool(file)
            try:
                _fill(spool, client, [stream.name for stream in session.streams], request)
            except _SessionLostError:
                continue
            first_row = 0
            for rows, messages in spool.runs(ROWS_PER_BATCH):
                schema = session.arrow_schema.serialized_schema
                yield RawBatch(place, schema, messages, rows, first_row, request.columns)
                first_row += rows
            return
    raise PenstockError(
        f"{PLACE}: {_described(request)}: {SESSIONS_PER_RANGE} sessions expired before it was read; smaller ranges "
        "take less time: set a lower rows_per_range, and partition the table"
    )


def _fill(spool: Spool, client: BigQueryReadClient, streams: list[str], request: Request) -> None:
    """Read all streams of a session into the spool; when one fails for good, the others stop."""
    stop = threading.Event()

    def read(number: int) -> None:
        try:
            _read_stream(spool, client, streams[number], number, request, stop)
        except BaseException:
            stop.set()
            raise

    if streams:
        with ThreadPoolExecutor(len(streams)) as pool:
            list(pool.map(read, range(len(streams))))


def _read_stream(
    spool: Spool, client: BigQueryReadClient, name: str, number: int, request: Request, stop: threading.Event
) -> None:
    offset = failures = 0
    while not stop.is_set():
        try:
            for response in client.read_rows(read_stream=name, offset=offset, retry=None):
                if response.row_count:
                    spool.add(number, offset, response.row_count, response.arrow_record_batch.serialized_record_batch)
                    offset, failures = offset + response.row_count, 0
                if stop.is_set():
                    return
            return
        except SESSION_LOST as fault:
            raise _SessionLostError from fault
        except PASSING as fault:
            failures += 1
            if failures == ATTEMPTS_WITHOUT_ROWS:
                raise explain(fault, PLACE, _described(request)) from None
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**failures)
            stop.wait(longest * random.uniform(0.5, 1))
        except ANY as fault:
            raise explain(fault, PLACE, _described(request)) from None


def _described(request: Request) -> str:
    restricted = f" where {request.restriction}" if request.restriction else ""
    moment = f" as of {request.snapshot_time.isoformat()}" if request.snapshot_time else ""
    return f"{request.table}{restricted}{moment}"
