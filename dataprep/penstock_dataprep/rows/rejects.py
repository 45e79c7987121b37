"""Set aside the rows that were refused, so that a person can see which and why."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penstock_dataprep.sources import SourceBatch
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.files import join, write_bytes
from penstock_shared.files import File

REJECT_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("value", pa.string()),
    ]
)
SHOWN_CHARACTERS = 200  # of a rejected value


@dataclass
class Faults:
    """Collect the first fault of each row: `kinds[fault[i] - 1]` is the (column, reason) of row i, 0 for none."""

    fault: np.ndarray
    kinds: list[tuple[str, str]]

    def add(self, mask: np.ndarray, column: str, reason: str) -> None:
        """Note a fault of the rows where `mask` is set that have none yet."""
        self.kinds.append((column, reason))
        self.fault[mask & (self.fault == 0)] = len(self.kinds)


def rejected(source: SourceBatch, targets: tuple[Target, ...], faults: Faults) -> pa.RecordBatch:
    """Return the rows with a fault, of REJECT_SCHEMA."""
    places = np.flatnonzero(faults.fault)
    kinds = faults.fault[places] - 1
    columns = {target.name: source.batch.column(target.source) for target in targets}
    values = np.empty(len(places), object)
    for kind in np.unique(kinds).tolist():
        of_kind = kinds == kind
        values[of_kind] = _show(columns[faults.kinds[kind][0]].take(pa.array(places[of_kind])))
    names, reasons = (pa.array(parts, pa.string()) for parts in zip(*faults.kinds, strict=True))
    return pa.RecordBatch.from_arrays(
        [
            pa.array([source.path] * len(places), pa.string()),
            pa.array(source.rows[places] + 1, pa.int64()),
            names.take(pa.array(kinds)),
            reasons.take(pa.array(kinds)),
            pa.array(values, pa.string()),
        ],
        schema=REJECT_SCHEMA,
    )


def malformed(source: SourceBatch) -> pa.RecordBatch:
    """Return the lines that are no rows at all, of REJECT_SCHEMA."""
    rows = [
        {"file": source.path, "row": row + 1, "column": None, "reason": "malformed", "value": text}
        for row, text in source.malformed
    ]
    return pa.RecordBatch.from_pylist(rows, schema=REJECT_SCHEMA)


def write_rejects(rejects: pa.RecordBatch, label: str, base: str, version: str) -> tuple[File, ...]:
    """Write one batch's rejected rows as Parquet and return the manifest's entry, or nothing where there are none."""
    if rejects.num_rows == 0:
        return ()
    path = f"{version}/rejects/{label}.parquet"
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([rejects]), sink)
    size, crc32c = write_bytes(join(base, path), [sink.getvalue().to_pybytes()])
    return (File(path=path, bytes=size, crc32c=crc32c),)


def _show(values: pa.Array) -> list[str]:
    """Return values as text; nanoseconds and years past 9999 are more than Python's datetime holds.

    What should be text may be other bytes.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        values = values.cast(pa.string())
    try:
        return [str(value)[:SHOWN_CHARACTERS] for value in values.to_pylist()]
    except UnicodeDecodeError:
        return [_show_text(value) for value in values]


def _show_text(value: pa.Scalar) -> str:
    try:
        return str(value.as_py())[:SHOWN_CHARACTERS]
    except UnicodeDecodeError:
        in_list = pa.types.is_list(value.type)
        return "bytes that are no UTF-8" if in_list else str(value.as_buffer().to_pybytes())[:SHOWN_CHARACTERS]
