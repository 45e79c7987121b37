"""Read logs as Arrow record batches: one file per kind of source, and one per format of files."""

from collections.abc import Callable

from penstock_dataprep.sources.base import ROW_COLUMN, Origin, Piece, Schema, SourceBatch, Unit
from penstock_dataprep.sources.bigquery import find_table
from penstock_dataprep.sources.files import FORMATS, find_files
from penstock_dataprep.spec.spec import Spec

# What finds a spec's source, by its kind, before the job: the origin that workers read from, and its schemas.
SOURCES: dict[str, Callable[[Spec], tuple[Origin, list[Schema]]]] = {
    "files": find_files,
    "bigquery": find_table,
}

__all__ = ["FORMATS", "ROW_COLUMN", "SOURCES", "Origin", "Piece", "Schema", "SourceBatch", "Unit"]
