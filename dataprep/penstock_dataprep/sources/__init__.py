"""Read logs as Arrow record batches, one file per format."""

from penstock_dataprep.sources.base import ROW_COLUMN, Format, SourceBatch, Unit, with_row_column
from penstock_dataprep.sources.csv import CsvFormat
from penstock_dataprep.sources.jsonl import JsonLinesFormat
from penstock_dataprep.sources.parquet import ParquetFormat

FORMATS: dict[str, Format] = {"parquet": ParquetFormat(), "csv": CsvFormat(), "jsonl": JsonLinesFormat()}

__all__ = ["FORMATS", "ROW_COLUMN", "Format", "SourceBatch", "Unit", "with_row_column"]
