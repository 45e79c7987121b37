"""Read a BigQuery table, or the result of a query, through the Storage Read API."""

from penstock_dataprep.sources.base import Origin, Schema
from penstock_dataprep.spec.spec import Spec


def find_table(spec: Spec) -> tuple[Origin, list[Schema]]:
    """Find the table of a spec's source; return it and its columns."""
    # Google's clients take a second to import: no command that reads no table waits for them.
    from penstock_dataprep.sources.bigquery.table import find

    return find(spec)


__all__ = ["find_table"]
