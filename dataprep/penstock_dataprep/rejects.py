"""Write the rows that were refused, so that a person can see which and why."""

import pyarrow as pa
import pyarrow.parquet as pq

from penstock_dataprep.storage import join, write_bytes
from penstock_shared.files import File


def write_rejects(rejects: pa.RecordBatch, label: str, base: str, version: str) -> tuple[File, ...]:
    """Write one batch's rejected rows as Parquet and return the manifest's entry, or nothing where there are none."""
    if rejects.num_rows == 0:
        return ()
    path = f"{version}/rejects/{label}.parquet"
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([rejects]), sink)
    size, crc32c = write_bytes(join(base, path), [sink.getvalue().to_pybytes()])
    return (File(path=path, bytes=size, crc32c=crc32c),)
