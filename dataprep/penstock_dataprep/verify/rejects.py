"""Check that the files of rejected rows hold as many rows of each reason as the accounts say."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from penstock_dataprep.rows.rejects import REJECT_SCHEMA
from penstock_dataprep.statistics.facts import reasons
from penstock_dataprep.storage.files import join
from penstock_dataprep.verify.files import expect, read_verified
from penstock_dataprep.versions.append import TOO_OLD
from penstock_shared.errors import DataRefused
from penstock_shared.files import File
from penstock_shared.manifest import Accounting


def verify_rejects(files: tuple[File, ...], accounting: Accounting, base: str, where: str) -> int:
    """Check the files and the rows in them by reason, and return how many claims that is. Raises DataRefused.

    Where `keep_last` left builds out, so are their files, but their rows are still in the accounts.
    """
    claims, found = 0, Counter[str]()
    for file in files:
        found += count_reasons(read_verified(base, file), join(base, file.path))
        claims += 2
    is_whole = TOO_OLD not in accounting.filtered
    for reason in sorted({*found, *accounting.rejected}):
        claimed = accounting.rejected.get(reason, 0)
        if is_whole or found[reason] > claimed:
            expect(f"{where}: rows in the rejects files", reason, claimed, found[reason])
    return claims + len(accounting.rejected)


def count_reasons(content: bytes, path: str) -> Counter[str]:
    """Return the rows of a rejects file by reason. Raises DataRefused for a file that is none."""
    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowException as fault:
        raise DataRefused(f"{path}: cannot be read as Parquet: {fault}") from None
    if table.schema.names != REJECT_SCHEMA.names:
        raise DataRefused(f"{path}: has columns {table.schema.names}, expected {REJECT_SCHEMA.names}")
    return reasons(table)
