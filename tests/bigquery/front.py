"""Stand in front of the emulator's Storage API: do what BigQuery does and the emulator does not, and inject faults.

The emulator ignores offsets, compression and snapshot times, refuses dotted fields, sends a stream as one message and
geography as binary. It answers SplitReadStream with two streams of all rows each. The front supplies these, so that
code meets what it would meet in BigQuery. When a stream is split, its rows are the emulator's, and the front's is which
of them are in which half: as BigQuery documents it, halves lie back to back in a stream, which can itself be read on.
"""

import datetime
import hashlib
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import pyarrow as pa
from emulator import Emulator
from google.cloud.bigquery_storage_v1 import types
from patience import PATIENCE_SECONDS

SERVICE = "/google.cloud.bigquery.storage.v1.BigQueryRead"
ROWS_PER_MESSAGE = 500
# BigQuery splits a stream between blocks of its storage only.
ROWS_PER_STORED_BLOCK = 300
NO_ROWS = "/streams/none"
CODECS = {0: None, 1: "lz4", 2: "zstd"}
ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Front(grpc.GenericRpcHandler):
    """Serve the Read API at `address`.

    `sessions` are the requests for sessions, `reads` (stream, offset) of each read, `splits` (stream, fraction) of each
    stream that was split. Set `breaks` to the number of reads to break off with `code`, `expiring` to the number of
    sessions to expire, both after `after` messages; `denied` to the method that is forbidden, create or read;
    `refusing` to the number of splits to refuse, `streams` to the most streams of a session. hold() makes reads wait,
    and sessions after the first `sessions_given` wait, counted in `held`, until who asks is gone, counted in `gone`.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._channel = grpc.insecure_channel(emulator.storage, options=ANY_SIZE)
        self._lock = threading.Lock()
        self._gate = threading.Condition()
        self._held: list[Held] = []
        self.reset()
        self._server = grpc.server(ThreadPoolExecutor(32), handlers=[self], options=ANY_SIZE)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def reset(self) -> None:
        """Forget all requests and faults."""
        self.sessions: list[types.ReadSession] = []
        self.reads: list[tuple[str, int]] = []
        self.codecs: set[str | None] = set()
        self.breaks, self.expiring, self.after, self.denied = 0, 0, 1, ""
        self.code = grpc.StatusCode.UNAVAILABLE
        self.splits: list[tuple[str, float]] = []
        self.refusing, self.streams = 0, 0
        self.sessions_given, self.held, self.gone = sys.maxsize, 0, 0
        self.release()
        self._parts: dict[str, Part] = {}
        self._asked: dict[str, types.ReadSession] = {}
        self._expiring: set[str] = set()
        self._expired: set[str] = set()

    def hold(self, messages: int) -> None:
        """Let each read give so many messages, and wait then."""
        with self._gate:
            self._allowed = messages
            self._held = [held for held in self._held if held.messages >= messages]
            self._gate.notify_all()

    def wait_held(self) -> None:
        """Wait until a read waits."""
        self.wait_until(lambda: self._held)

    def wait_until(self, is_so: Callable[[], object]) -> None:
        """Wait until something is so that changes as reads begin and are held."""
        with self._gate:
            assert self._gate.wait_for(is_so, PATIENCE_SECONDS)

    def release(self) -> None:
        """Let all reads go on to their ends."""
        self.hold(sys.maxsize)

    def _is_held(self, asked: types.ReadSession) -> bool:
        return self.sessions_given < sum(map(gives_rows, self.sessions)) + gives_rows(asked)

    def expire(self) -> None:
        """Let all sessions expire."""
        self._expired |= self._asked.keys()

    def stop(self) -> None:
        """End the server."""
        self._server.stop(None)
        self._channel.close()

    def service(self, handler_call_details: Any) -> Any:
        """Return what handles a method."""
        if handler_call_details.method == f"{SERVICE}/CreateReadSession":
            return grpc.unary_unary_rpc_method_handler(self._create)
        if handler_call_details.method == f"{SERVICE}/ReadRows":
            return grpc.unary_stream_rpc_method_handler(self._read)
        if handler_call_details.method == f"{SERVICE}/SplitReadStream":
            return grpc.unary_unary_rpc_method_handler(self._split)
        return None

    def _create(self, content: bytes, context: grpc.ServicerContext) -> bytes:
        request = types.CreateReadSessionRequest.deserialize(content)
        asked = types.ReadSession(request.read_session)
        if self.denied == "create":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "the user does not have bigquery.readsessions.create")
        wanted = types.CreateReadSessionRequest(request)
        fields = list(dict.fromkeys(path.split(".")[0] for path in asked.read_options.selected_fields))
        wanted.read_session.read_options.selected_fields = fields
        if "snapshot_time" in asked.table_modifiers:
            wanted.read_session.table = self._snapshot(asked.table, asked.table_modifiers.snapshot_time)
        self.held += self._is_held(asked)
        while self._is_held(asked):
            if not context.is_active():
                self.gone += 1
                return b""
            time.sleep(0.01)
        with self._lock:
            self.sessions.append(asked)
            # Another layout each time, as BigQuery is free to choose.
            wanted.max_stream_count = self.streams or max(1, request.max_stream_count - 2 * len(self.sessions) % 7)
        forward = self._channel.unary_unary(f"{SERVICE}/CreateReadSession")
        try:
            session = types.ReadSession.deserialize(forward(types.CreateReadSessionRequest.serialize(wanted)))
        except grpc.RpcError as fault:
            context.abort(fault.code(), fault.details())
        with self._lock:
            self._asked[session.name] = types.ReadSession(asked, name=session.name)
            if gives_rows(asked) and self.expiring:
                self.expiring -= 1
                self._expiring.add(session.name)
        empty = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema)).empty_table()
        session.arrow_schema.serialized_schema = as_read(empty, asked).schema.serialize().to_pybytes()
        if not session.streams:  # BigQuery gives at least one.
            session.streams = [types.ReadStream(name=f"{session.name}{NO_ROWS}")]
        return types.ReadSession.serialize(session)

    def _snapshot(self, table: str, moment: datetime.datetime) -> str:
        """Return the path of a table that holds what `table` held at a moment."""
        _, project, _, dataset, _, name = table.split("/")
        text = f"{moment:%Y-%m-%d %H:%M:%S.%f}+00"
        copy = f"snapshot_{hashlib.sha256(f'{table}{text}'.encode()).hexdigest()[:16]}"
        with self._lock:
            self._emulator.sql(
                f"CREATE TABLE IF NOT EXISTS `{project}.{dataset}.{copy}` AS "
                f"SELECT * FROM `{project}.{dataset}.{name}` FOR SYSTEM_TIME AS OF TIMESTAMP '{text}'"
            )
        return f"projects/{project}/datasets/{dataset}/tables/{copy}"

    def _read(self, content: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        request = types.ReadRowsRequest.deserialize(content)
        session = request.read_stream.rsplit("/", 2)[0]
        asked = self._asked[session]
        with self._gate:
            self.reads.append((request.read_stream, request.offset))
            self._gate.notify_all()
        with self._lock:
            broken = self.breaks > 0 and not request.read_stream.endswith(NO_ROWS)
            self.breaks -= broken
        if self.denied == "read":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "the user does not have bigquery.readsessions.getData")
        codec = CODECS[asked.read_options.arrow_serialization_options.buffer_compression]
        self.codecs.add(codec)
        for sent, (batch, progress) in enumerate(self._rows(request, asked, context)):
            self._pass_gate(Held(sent))
            if session in self._expired or (sent == self.after and session in self._expiring):
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "session expired at 2026-11-20T00:00:00+00:00")
            if sent == self.after and broken:
                context.abort(self.code, "the connection broke, on purpose")
            yield types.ReadRowsResponse.serialize(
                types.ReadRowsResponse(
                    row_count=batch.num_rows,
                    arrow_record_batch=types.ArrowRecordBatch(serialized_record_batch=as_message(batch, codec)),
                    stats=types.StreamStats(progress=types.StreamStats.Progress(at_response_end=progress)),
                )
            )

    def _pass_gate(self, read: "Held") -> None:
        with self._gate:
            if read.messages >= self._allowed:
                self._held.append(read)
                self._gate.notify_all()
                # Who is let go on is not held again here, however late the thread wakes up.
                assert self._gate.wait_for(lambda: read not in self._held, 2 * PATIENCE_SECONDS)

    def _rows(
        self, request: types.ReadRowsRequest, asked: types.ReadSession, context: grpc.ServicerContext
    ) -> Iterator[tuple[pa.RecordBatch, float]]:
        """Yield messages of a stream or of a part of one, each with how much of it has then come."""
        part = self._part(request.read_stream)
        first, end = part.first_row + request.offset, part.end_row
        if request.offset and first > end:  # Not defined; so it was seen.
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "there is no such row")
        for start in range(first, end, ROWS_PER_MESSAGE):
            batch = part.rows.slice(start, min(ROWS_PER_MESSAGE, end - start))
            (message,) = as_read(pa.Table.from_batches([batch]), asked).combine_chunks().to_batches()
            yield message, (start + batch.num_rows - part.first_row) / (end - part.first_row)

    def _split(self, content: bytes, context: grpc.ServicerContext) -> bytes:
        request = types.SplitReadStreamRequest.deserialize(content)
        part = self._part(request.name)
        middle = part.first_row + int((part.end_row - part.first_row) * request.fraction)
        middle -= middle % ROWS_PER_STORED_BLOCK
        with self._lock:
            if request.name.rsplit("/", 2)[0] in self._expired:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "session expired at 2026-11-20T00:00:00+00:00")
            if self.refusing > 0 or not part.first_row < middle < part.end_row:
                self.refusing -= 1
                return types.SplitReadStreamResponse.serialize(types.SplitReadStreamResponse())
            self.splits.append((request.name, request.fraction))
            halves = [f"{request.name}{side}{len(self.splits)}" for side in ("l", "r")]
            self._parts[halves[0]] = part._replace(end_row=middle)
            self._parts[halves[1]] = part._replace(first_row=middle)
        return types.SplitReadStreamResponse.serialize(
            types.SplitReadStreamResponse(
                primary_stream=types.ReadStream(name=halves[0]), remainder_stream=types.ReadStream(name=halves[1])
            )
        )

    def _part(self, stream: str) -> "Part":
        with self._lock:
            if stream not in self._parts:
                rows = pa.record_batch([]) if stream.endswith(NO_ROWS) else self._emulated(stream)
                self._parts[stream] = Part(rows, 0, rows.num_rows)
            return self._parts[stream]

    def _emulated(self, stream: str) -> pa.RecordBatch:
        forward = self._channel.unary_stream(f"{SERVICE}/ReadRows")
        schema, batches = None, []
        for content in forward(types.ReadRowsRequest.serialize(types.ReadRowsRequest(read_stream=stream))):
            response = types.ReadRowsResponse.deserialize(content)
            schema = schema or pa.ipc.read_schema(pa.py_buffer(response.arrow_schema.serialized_schema))
            message = pa.py_buffer(response.arrow_record_batch.serialized_record_batch)
            batches.append(pa.ipc.read_record_batch(message, schema))
        (rows,) = pa.Table.from_batches(batches, schema).combine_chunks().to_batches()
        return rows


@dataclass(eq=False)
class Held:
    """Stand for a read that has given so many messages and waits."""

    messages: int


class Part(NamedTuple):
    """Hold rows `first_row` to before `end_row` of a stream of the emulator."""

    rows: pa.RecordBatch
    first_row: int
    end_row: int


def gives_rows(asked: types.ReadSession) -> bool:
    """Tell whether a session was asked for rows, and not to see whether it would be granted."""
    return "FALSE" not in asked.read_options.row_restriction


def as_read(table: pa.Table, asked: types.ReadSession) -> pa.Table:
    """Return what BigQuery would send: records with the wanted fields alone, geography as text."""
    paths = [path.split(".") for path in asked.read_options.selected_fields]
    columns = {}
    for field in table.schema:
        column = table.column(field.name).combine_chunks()
        if (field.metadata or {}).get(b"ARROW:extension:name") == b"geoarrow.wkb":
            column = pa.array([_point(value) for value in column.to_pylist()], pa.string())
        columns[field.name] = _prune(column, [path[1:] for path in paths if path[0] == field.name])
    return pa.table(columns)


def _prune(array: pa.Array, paths: list[list[str]]) -> pa.Array:
    if not all(paths):
        return array
    missing = array.is_null() if array.null_count else None
    if pa.types.is_list(array.type):
        return pa.ListArray.from_arrays(array.offsets, _prune(array.values, paths), mask=missing)
    kept = [field.name for field in array.type if any(path[0] == field.name for path in paths)]
    inner = [_prune(array.field(name), [path[1:] for path in paths if path[0] == name]) for name in kept]
    return pa.StructArray.from_arrays(inner, names=kept, mask=missing)


def _point(content: bytes | None) -> str | None:
    if content is None:
        return None
    longitude, latitude = struct.unpack_from("<2d", content, 5)
    return f"POINT({longitude:g} {latitude:g})"


def as_message(batch: pa.RecordBatch, codec: str | None) -> bytes:
    """Return a batch as one Arrow IPC message, without its schema."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    reader.read_next_message()
    message: bytes = reader.read_next_message().serialize().to_pybytes()
    return message
