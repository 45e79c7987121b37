"""Read a range of a table, or a share of it: in a session opened for it, streams at once, each resumed where it broke.

Rows are handed on only when the whole share has come. The rows of a session come in an order of its own, so when a
session expires, all that it gave of the range is thrown away and the range is read anew: no row is lost or doubled.
"""

import datetime
import random
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol, cast

from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient

from penstock_dataprep.sources.base import ROWS_PER_BATCH
from penstock_dataprep.sources.bigquery.batch import RawBatch, first_rows
from penstock_dataprep.sources.bigquery.faults import ANY, PASSING, SESSION_LOST, explain
from penstock_dataprep.sources.bigquery.share import Session, Stretch
from penstock_dataprep.sources.bigquery.spool import Spool
from penstock_dataprep.sources.bigquery.tracker import Claims, Ended, Finished, Lost, Opened, Taken
from penstock_shared.errors import PenstockError

STREAMS_PER_SESSION = 8
SESSIONS_PER_RANGE = 4
# A stream that gives nothing for so many attempts in a row, about two minutes, is given up.
ATTEMPTS_WITHOUT_ROWS = 10
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 30.0
SECONDS_BETWEEN_LOOKS = 0.5
PLACE = "source.bigquery"
REMEDY = "smaller ranges take less time: set a lower rows_per_range, and partition the table"


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


class Call(Protocol):
    """Stand for a request that is being answered."""

    def cancel(self) -> object:
        """End it."""


class SessionLostError(Exception):
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


def read_share(client: BigQueryReadClient, request: Request, place: str, claims: Claims) -> Iterator[RawBatch]:
    """Yield the rows of a share of what a request asks for, or none before all have come; `place` names them.

    Raises SessionLostError where the session of a share that was split expires: others have the rest of it.
    """
    for _ in range(SESSIONS_PER_RANGE):
        if claims.current_restriction().session is None:
            opened = open_session(client, request, _described(request))
            session = Session(opened.name, opened.arrow_schema.serialized_schema)
            claims.try_claim(Opened(session, tuple(stream.name for stream in opened.streams)))
        with tempfile.TemporaryFile() as file:
            spool = Spool(file)
            try:
                _fill(spool, client, request, claims)
            except SessionLostError:
                if claims.try_claim(Lost()):
                    continue
                raise
            yield from _finish(spool, request, place, claims)
            return
    raise PenstockError(
        f"{PLACE}: {_described(request)}: {SESSIONS_PER_RANGE} sessions expired before it was read; {REMEDY}"
    )


def _finish(spool: Spool, request: Request, place: str, claims: Claims) -> Iterator[RawBatch]:
    if not claims.try_claim(Finished()):
        raise PenstockError(f"{PLACE}: {_described(request)}: a stream gave fewer rows than before; run it again")
    session, first_row = claims.current_restriction().session, 0
    assert session is not None
    for rows, messages in spool.runs(ROWS_PER_BATCH):
        yield RawBatch(place, session.schema, messages, rows, first_row, request.columns)
        first_row += rows


def _fill(spool: Spool, client: BigQueryReadClient, request: Request, claims: Claims) -> None:
    """Read all streams of a share into the spool, some at once; when one fails for good, the others stop.

    A stream that was given away is not waited for, since it may be given away for being slow.
    """
    stop, lock, begun = threading.Event(), threading.Lock(), set[str]()
    calls: dict[Stretch, Call] = {}

    def begin() -> Stretch | None:
        """Return a stretch that no thread reads: a split may have added one."""
        with lock:
            for stretch in claims.current_restriction().stretches:
                if stretch.stream not in begun:
                    begun.add(stretch.stream)
                    return stretch
        return None

    def read() -> None:
        try:
            while not stop.is_set() and (stretch := begin()) is not None:
                _read_stretch(spool, client, stretch, request, claims, stop, calls)
        except BaseException:
            stop.set()
            raise

    threads = min(STREAMS_PER_SESSION, len(claims.current_restriction().stretches))
    if threads:
        with ThreadPoolExecutor(threads) as pool:
            reading = [pool.submit(read) for _ in range(threads)]
            while wait(reading, SECONDS_BETWEEN_LOOKS).not_done:
                for stretch, call in calls.copy().items():
                    if stop.is_set() or stretch not in claims.current_restriction().stretches:
                        call.cancel()
            for done in reading:
                done.result()


def _read_stretch(
    spool: Spool,
    client: BigQueryReadClient,
    stretch: Stretch,
    request: Request,
    claims: Claims,
    stop: threading.Event,
    calls: dict[Stretch, Call],
) -> None:
    """Read a stretch to its end, or until it is given away."""
    row, failures = stretch.first_row, 0
    while not stop.is_set() and row != stretch.end_row and stretch in claims.current_restriction().stretches:
        try:
            for rows, message, progress in _responses(client, stretch, row, claims, calls):
                if stop.is_set() or not claims.try_claim(Taken(stretch.stream, row, rows, progress)):
                    return
                spool.add(stretch.stream, row, rows, message)
                row, failures = row + rows, 0
            if row != stretch.end_row:
                claims.try_claim(Ended(stretch.stream))
            return
        except SESSION_LOST as fault:
            raise SessionLostError from fault
        except PASSING as fault:
            failures += 1
            if failures == ATTEMPTS_WITHOUT_ROWS:
                raise explain(fault, PLACE, _described(request)) from None
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**failures)
            stop.wait(longest * random.uniform(0.5, 1))
        except ANY as fault:
            raise explain(fault, PLACE, _described(request)) from None


def _responses(
    client: BigQueryReadClient, stretch: Stretch, row: int, claims: Claims, calls: dict[Stretch, Call]
) -> Iterator[tuple[int, bytes, float]]:
    """Yield (rows, message, progress of the stream) from a row on, to the end of the stretch."""
    responses = client.read_rows(read_stream=stretch.stream, offset=row, retry=None)
    calls[stretch] = cast(Call, responses)
    try:
        for response in responses:
            rows, message = response.row_count, response.arrow_record_batch.serialized_record_batch
            if stretch.end_row is not None and row + rows > stretch.end_row:
                rows, session = stretch.end_row - row, claims.current_restriction().session
                assert session is not None
                message = first_rows(message, session.schema, rows)
            if rows:
                yield rows, message, response.stats.progress.at_response_end
            row += rows
            if row == stretch.end_row:
                return
    finally:
        calls.pop(stretch).cancel()


def _described(request: Request) -> str:
    restricted = f" where {request.restriction}" if request.restriction else ""
    moment = f" as of {request.snapshot_time.isoformat()}" if request.snapshot_time else ""
    return f"{request.table}{restricted}{moment}"
