"""Translate v1beta1 of BigQuery's Storage API, which tensorflow-io speaks, to v1, which the emulator serves.

Only the messages and fields that a reader of rows sends and takes are here; their numbers are those of the published
google/cloud/bigquery/storage/v1beta1/storage.proto.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.cloud.bigquery_storage_v1 import types
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

OLD = "google.cloud.bigquery.storage.v1beta1"
NEW = "/google.cloud.bigquery.storage.v1.BigQueryRead"
ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
FORMATS = {1: types.DataFormat.AVRO, 3: types.DataFormat.ARROW}
# A table that nobody may read; the emulator lets everybody read everything.
FORBIDDEN = "forbidden"
FIELD = descriptor_pb2.FieldDescriptorProto
# By message: name, number and type of each field; a name with [] is repeated.
MESSAGES = {
    "TableReference": [("project_id", 1, "string"), ("dataset_id", 2, "string"), ("table_id", 3, "string")],
    "TableReadOptions": [("selected_fields[]", 1, "string"), ("row_restriction", 2, "string")],
    "CreateReadSessionRequest": [
        ("table_reference", 1, "TableReference"),
        ("requested_streams", 3, "int32"),
        ("read_options", 4, "TableReadOptions"),
        ("format", 5, "int32"),
        ("parent", 6, "string"),
    ],
    "Stream": [("name", 1, "string")],
    "StreamPosition": [("stream", 1, "Stream"), ("offset", 2, "int64")],
    "ReadRowsRequest": [("read_position", 1, "StreamPosition")],
    "Schema": [("schema", 1, "bytes")],
    "ReadSession": [
        ("name", 1, "string"),
        ("streams[]", 4, "Stream"),
        ("avro_schema", 5, "Schema"),
        ("arrow_schema", 6, "Schema"),
    ],
    "Content": [("serialized", 1, "bytes"), ("row_count", 2, "int64")],
    "ReadRowsResponse": [("avro_rows", 3, "Content"), ("arrow_record_batch", 4, "Content"), ("row_count", 6, "int64")],
}


def _old_messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="v1beta1.proto", package="v1beta1", syntax="proto3")
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = described.field.add(name=name.removesuffix("[]"), number=number)
            field.label = FIELD.LABEL_REPEATED if name.endswith("[]") else FIELD.LABEL_OPTIONAL
            field.type = FIELD.TYPE_MESSAGE if kind in MESSAGES else FIELD.Type.Value(f"TYPE_{kind.upper()}")
            if kind in MESSAGES:
                field.type_name = f".v1beta1.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"v1beta1.{name}")) for name in MESSAGES}


class Translator(grpc.GenericRpcHandler):
    """Serve v1beta1 at `address` from the v1 server at `upstream`; `streams` says how many a table was given."""

    def __init__(self, upstream: str) -> None:
        self._old = _old_messages()
        self._channel = grpc.insecure_channel(upstream, options=ANY_SIZE)
        self.streams: dict[str, int] = {}
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[self], options=ANY_SIZE)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        """End the server."""
        self._server.stop(None)
        self._channel.close()

    def service(self, handler_call_details: Any) -> Any:
        """Return what handles a method."""
        if handler_call_details.method == f"/{OLD}.BigQueryStorage/CreateReadSession":
            return grpc.unary_unary_rpc_method_handler(self._create)
        if handler_call_details.method == f"/{OLD}.BigQueryStorage/ReadRows":
            return grpc.unary_stream_rpc_method_handler(self._read)
        return None

    def _create(self, content: bytes, context: grpc.ServicerContext) -> bytes:
        asked = self._old["CreateReadSessionRequest"].FromString(content)
        table = asked.table_reference
        if table.table_id == FORBIDDEN:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "the user does not have bigquery.tables.getData")
        request = types.CreateReadSessionRequest(
            parent=asked.parent,
            max_stream_count=asked.requested_streams,
            read_session=types.ReadSession(
                table=f"projects/{table.project_id}/datasets/{table.dataset_id}/tables/{table.table_id}",
                data_format=FORMATS[asked.format],
                read_options={
                    "selected_fields": list(asked.read_options.selected_fields),
                    "row_restriction": asked.read_options.row_restriction,
                },
            ),
        )
        try:
            answer = self._channel.unary_unary(f"{NEW}/CreateReadSession")(
                types.CreateReadSessionRequest.serialize(request)
            )
        except grpc.RpcError as fault:
            context.abort(fault.code(), fault.details())
        made = types.ReadSession.deserialize(answer)
        session = self._old["ReadSession"](name=made.name)
        if made.avro_schema.schema:
            session.avro_schema.schema = made.avro_schema.schema.encode()
        if made.arrow_schema.serialized_schema:
            session.arrow_schema.schema = made.arrow_schema.serialized_schema
        self.streams[table.table_id] = len(made.streams)
        for stream in made.streams:
            session.streams.add(name=stream.name)
        return session.SerializeToString()

    def _read(self, content: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        position = self._old["ReadRowsRequest"].FromString(content).read_position
        request = types.ReadRowsRequest(read_stream=position.stream.name, offset=position.offset)
        try:
            for answer in self._channel.unary_stream(f"{NEW}/ReadRows")(types.ReadRowsRequest.serialize(request)):
                read = types.ReadRowsResponse.deserialize(answer)
                rows = self._old["ReadRowsResponse"](row_count=read.row_count)
                if read.avro_rows.serialized_binary_rows:
                    rows.avro_rows.serialized = read.avro_rows.serialized_binary_rows
                    rows.avro_rows.row_count = read.row_count
                else:
                    rows.arrow_record_batch.serialized = read.arrow_record_batch.serialized_record_batch
                    rows.arrow_record_batch.row_count = read.row_count
                yield rows.SerializeToString()
        except grpc.RpcError as fault:
            context.abort(fault.code(), fault.details())
