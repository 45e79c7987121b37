"""Fetch from a bucket what is wanted of a log, and little else."""

import os
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from emulators.gcs import Emulator
from emulators.gcs_front import Request

from penstock_dataprep.sources.parquet import ParquetFormat
from penstock_dataprep.spec.source import SourceSpec
from penstock_dataprep.storage.files import read_head

ROWS, GROUP_ROWS = 400_000, 50_000
COLUMNS = ["item_id", "user_id"]


def fetched_bytes(requests: list[Request]) -> int:
    """Return how many bytes the ranges of all requests ask for."""
    edges = [request.range.removeprefix("bytes=").split("-") for request in requests if request.range]
    return sum(int(last) - int(first) + 1 for first, last in edges)


def test_of_a_parquet_file_the_chunks_of_the_columns_are_fetched_once(
    emulator: Emulator, bucket: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    ids = {name: random.integers(0, 2**62, ROWS) for name in ("user_id", "other", "item_id", "more")}
    pq.write_table(pa.table(ids), tmp_path / "log.parquet", row_group_size=GROUP_ROWS, use_dictionary=False)
    size = (tmp_path / "log.parquet").stat().st_size
    path = f"{bucket}/log.parquet"
    fsspec.filesystem("gs").put(str(tmp_path / "log.parquet"), path)
    source = SourceSpec.model_validate({"files": path, "format": "parquet"})
    (unit,) = ParquetFormat().units(path, size)
    with emulator.front.recorded() as requests:
        batches = [batch.batch for batch in ParquetFormat().read(unit, source, COLUMNS)]
    found = pa.Table.from_batches(batches)
    assert all(np.array_equal(found.column(name).to_numpy(), ids[name]) for name in COLUMNS)
    footer = 1_000_000  # what fsspec fetches of the end of a file to look for the footer
    assert size / 2 <= fetched_bytes(requests) <= size / 2 + 2 * footer


def test_the_head_of_a_file_is_fetched_alone(emulator: Emulator, bucket: str) -> None:
    content = os.urandom(1 << 20)
    system = fsspec.filesystem("gs")
    system.pipe_file(f"{bucket}/large", content)
    system.pipe_file(f"{bucket}/empty", b"")
    with emulator.front.recorded() as requests:
        assert read_head(f"{bucket}/large", 1000) == content[:1000]
        assert read_head(f"{bucket}/empty", 1000) == b""
    assert fetched_bytes(requests) == 1000
