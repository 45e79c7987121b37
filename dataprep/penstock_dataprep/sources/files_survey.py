"""Tell how many rows files hold and how many bytes of them are read, from footers or from their first lines."""

from collections.abc import Sequence

import pyarrow.parquet as pq

from penstock_dataprep.sources.base import Unit
from penstock_dataprep.sources.survey import Survey, spread
from penstock_dataprep.storage.files import open_input
from penstock_shared.origin import SourceFile

FILES_PROBED = 8
PROBE_BYTES = 1 << 20


def survey_parquet(files: Sequence[SourceFile], units: Sequence[Unit], columns: list[str]) -> Survey:
    """Return the rows that the footers count, and the bytes of the columns taken, by the footers of some files."""
    probed = _some(files)
    taken = whole = 0
    nullable: set[str] = set()
    for file in probed:
        parquet = pq.ParquetFile(open_input(file.path))
        nullable |= {field.name for field in parquet.schema_arrow if field.nullable}
        for number in range(parquet.metadata.num_row_groups):
            group = parquet.metadata.row_group(number)
            chunks = [group.column(at) for at in range(group.num_columns)]
            whole += sum(chunk.total_compressed_size for chunk in chunks)
            taken += sum(chunk.total_compressed_size for chunk in chunks if _root(chunk.path_in_schema, columns))
    held = sum(file.bytes for file in files)
    scanned = held * taken // whole if whole else 0
    return Survey(
        rows=sum(unit.weight for unit in units),
        rows_from="counted in the footers of the files",
        bytes_scanned=scanned,
        bytes_from=f"{held:,} bytes of files x {taken:,} of {whole:,} bytes that are of the columns taken, "
        f"by the footers of {len(probed)} file(s)",
        nullable=frozenset(nullable & set(columns)),
    )


def survey_text(files: Sequence[SourceFile], columns: list[str], header_lines: int) -> Survey:
    """Return the rows by the length of the first lines of some files; all bytes are read, whatever is taken."""
    held = sum(file.bytes for file in files)
    lines = probed_bytes = 0
    probed = _some(files)
    for file in probed:
        with open_input(file.path) as opened:
            content = opened.read(PROBE_BYTES)
        whole = content if len(content) < PROBE_BYTES else content[: content.rfind(b"\n") + 1] or content
        lines += whole.count(b"\n") + (not whole.endswith(b"\n"))
        probed_bytes += len(whole)
    rows = max(1, round(held * lines / probed_bytes) - header_lines * len(files)) if probed_bytes else 0
    return Survey(
        rows=rows,
        rows_from=f"{held:,} bytes / {probed_bytes / max(1, lines):.1f} bytes a line in {probed_bytes:,} bytes of "
        f"{len(probed)} file(s)" + (f", less {header_lines} header line a file" if header_lines else ""),
        bytes_scanned=held,
        bytes_from="all of the files",
        nullable=frozenset(columns),
    )


def _some(files: Sequence[SourceFile]) -> list[SourceFile]:
    return [files[at] for at in spread(len(files))[:FILES_PROBED] if files[at].bytes]


def _root(path: str, columns: list[str]) -> bool:
    return path in columns or any(path.startswith(f"{column}.") for column in columns)
