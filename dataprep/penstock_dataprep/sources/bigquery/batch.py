"""Carry Arrow batches as BigQuery sent them, compressed, to the threads that decode them, or to other workers."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.sources.base import SourceBatch
from penstock_dataprep.storage.files import open_input, write_bytes
from penstock_dataprep.storage.scratch import Scratch
from penstock_shared.errors import PenstockError


@dataclass(frozen=True)
class RawBatch:
    """Hold messages of one range of a table: `schema` and `messages` are Arrow IPC, `columns` dotted paths.

    `rows` is what BigQuery said that the messages hold, `first_row` how many of the range came before them.
    """

    place: str
    schema: bytes
    messages: tuple[bytes, ...]
    rows: int
    first_row: int
    columns: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Return the size of the messages."""
        return sum(map(len, self.messages))

    def decode(self) -> SourceBatch:
        """Return the rows, each of `columns` as a column of its own."""
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(self.schema))
            batches = [pa.ipc.read_record_batch(pa.py_buffer(message), schema) for message in self.messages]
        except (OSError, pa.ArrowException) as fault:
            raise PenstockError(f"{self.place}: BigQuery sent what is no Arrow batch: {fault}") from None
        found = sum(batch.num_rows for batch in batches)
        if found != self.rows:
            raise PenstockError(f"{self.place}: BigQuery announced {self.rows} rows and sent {found}; run it again")
        columns = {name: _joined([take_path(batch, name.split(".")) for batch in batches]) for name in self.columns}
        rows = np.arange(self.first_row, self.first_row + found)
        return SourceBatch(self.place, pa.RecordBatch.from_pydict(columns), rows)

    def keep(self, scratch: Scratch, name: str) -> "KeptBatch":
        """Write the messages to a file of the scratch folder."""
        path = scratch.path(name)
        write_bytes(path, [self.schema, *self.messages], durable=False)
        return KeptBatch(path, self.place, self.rows, self.first_row, self.columns, self.nbytes)


@dataclass(frozen=True)
class KeptBatch:
    """Point at the messages of a RawBatch in a file, behind their schema: an Arrow IPC stream."""

    path: str
    place: str
    rows: int
    first_row: int
    columns: tuple[str, ...]
    nbytes: int

    def decode(self) -> SourceBatch:
        """Return the rows, each of `columns` as a column of its own."""
        messages = list(pa.ipc.MessageReader.open_stream(open_input(self.path)))
        schema, *batches = (message.serialize().to_pybytes() for message in messages)
        return RawBatch(self.place, schema, tuple(batches), self.rows, self.first_row, self.columns).decode()


def first_rows(message: bytes, schema: bytes, rows: int) -> bytes:
    """Return a message of the first rows of another."""
    batch = pa.ipc.read_record_batch(pa.py_buffer(message), pa.ipc.read_schema(pa.py_buffer(schema)))
    content: bytes = batch.slice(0, rows).serialize().to_pybytes()
    return content


def take_path(batch: pa.RecordBatch, path: list[str]) -> pa.Array:
    """Return a column, or the field of a record at `path`; of a list of records, the lists of their fields."""
    array = batch.column(path[0])
    for name in path[1:]:
        array = _field(array, name)
    return _times_to_integers(array)


def _field(array: pa.Array, name: str) -> pa.Array:
    if not pa.types.is_list(array.type):
        return pc.struct_field(array, name)
    fields = _field(array.values, name)
    return pa.ListArray.from_arrays(array.offsets, fields, mask=array.is_null() if array.null_count else None)


def _times_to_integers(array: pa.Array) -> pa.Array:
    """Return times of day as microseconds since midnight, for they have no other use as numbers."""
    if pa.types.is_time(array.type):
        return array.cast(pa.int64())
    if pa.types.is_list(array.type) and pa.types.is_time(array.type.value_type):
        return array.cast(pa.list_(pa.int64()))
    return array


def _joined(arrays: list[pa.Array]) -> pa.Array:
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
