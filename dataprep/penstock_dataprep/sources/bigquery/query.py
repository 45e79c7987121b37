"""Keep the result of a query in a table that expires, named for the query and the state of what it reads."""

import datetime
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from penstock_dataprep.sources.bigquery import clients
from penstock_dataprep.sources.bigquery.faults import ANY, explain
from penstock_shared.digests import fingerprint

DAYS_KEPT = 3
PLACE = "source.bigquery.query"


def dry_run(client: bigquery.Client, query: str) -> tuple[list[bigquery.SchemaField], Any]:
    """Return (columns of a query's result, what tells the state of all it reads), without running it."""
    try:
        dry = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        job = client.query(query, job_config=dry, retry=clients.FIRST_ANSWER, job_retry=None)
        tables = [client.get_table(reference) for reference in job.referenced_tables]
    except ANY as fault:
        raise explain(fault, PLACE, "the query", "mend the query") from None
    states = sorted((table.full_table_id, state_of(table)) for table in tables)
    return list(job.schema or ()), {"query": query, "tables": states}


def state_of(table: bigquery.Table) -> dict[str, Any]:
    """Return what changes whenever the rows of a table do."""
    buffer = table.streaming_buffer
    return {
        "created": _iso(table.created),
        "modified": _iso(table.modified),
        "rows": table.num_rows,
        "bytes": table.num_bytes,
        "streaming": None if buffer is None else [buffer.estimated_rows, _iso(buffer.oldest_entry_time)],
    }


def result_table(dataset: str, identity: Any) -> str:
    """Return the name of the table for a query's result, the same for the same query over the same state."""
    return f"{dataset}.penstock_{fingerprint(identity)[:24]}"


def materialise(client: bigquery.Client, query: str, table: str) -> bigquery.Table:
    """Run a query into `table` unless an earlier attempt did, and return it."""
    expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=DAYS_KEPT)
    statement = (
        f"CREATE TABLE IF NOT EXISTS `{table}` OPTIONS(expiration_timestamp=TIMESTAMP '{expires:%Y-%m-%d %H:%M:%S}+00')"
        f" AS\n{query.strip().rstrip(';')}\n"
    )
    try:
        try:
            return client.get_table(table)
        except exceptions.NotFound:
            client.query_and_wait(statement)
        return client.get_table(table)
    except ANY as fault:
        raise explain(fault, PLACE, f"its result in {table}", "mend the query") from None


def _iso(moment: datetime.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
