"""Look up how a table is partitioned, and which of its columns tells rows apart well enough to be hashed."""

from google.cloud import bigquery

from penstock_dataprep.sources.bigquery.columns import STANDARD_NAMES
from penstock_dataprep.sources.bigquery.faults import ANY, explain
from penstock_dataprep.sources.bigquery.ranges import Partitioning
from penstock_dataprep.spec.spec import Spec

HASHED = {"INT64": "CAST({0} AS STRING)", "STRING": "{0}", "BYTES": "{0}"}


def partitioning_of(client: bigquery.Client, table: bigquery.Table, rows_per_range: int) -> Partitioning | None:
    """Return a table's partitions, None where it has none or need not be cut by them."""
    if (table.num_rows or 0) <= rows_per_range and not table.require_partition_filter:
        return None
    if table.range_partitioning is not None:
        column = str(table.range_partitioning.field)
    elif table.time_partitioning is not None:
        # Without a column, a table is partitioned by when rows came.
        column = table.time_partitioning.field or "_PARTITIONTIME"
    else:
        return None
    types = {field.name: STANDARD_NAMES.get(field.field_type, field.field_type) for field in table.schema}
    query = (
        f"SELECT partition_id, total_rows FROM `{table.project}.{table.dataset_id}.INFORMATION_SCHEMA.PARTITIONS` "
        "WHERE table_name = @name"
    )
    named = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("name", "STRING", table.table_id)])
    try:
        rows = list(client.query_and_wait(query, job_config=named))
    except ANY as fault:
        raise explain(fault, "source.bigquery", f"the partitions of {table.full_table_id}") from None
    partitions = [(str(row["partition_id"]), int(row["total_rows"])) for row in rows]
    return Partitioning(_quoted(column), types.get(column, "TIMESTAMP"), partitions)


def choose_hashed(spec: Spec, fields: list[bigquery.SchemaField]) -> str | None:
    """Return SQL for the text of the user, the item or another id column, None where there is none to hash."""
    types = {field.name: STANDARD_NAMES.get(field.field_type, field.field_type) for field in fields}
    repeated = {field.name for field in fields if field.mode == "REPEATED"}
    named = [spec.role("user"), spec.role("item"), *(name for name, held in spec.columns.items() if held.vocabulary)]
    for name in filter(None, named):
        source = spec.source_column(name)
        if source not in repeated and types.get(source) in HASHED:
            return HASHED[types[source]].format(_quoted(source))
    return None


def _quoted(name: str) -> str:
    return f"`{name}`"
