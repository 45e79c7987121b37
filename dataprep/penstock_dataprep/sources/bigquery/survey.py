"""Tell, at no cost, what reading a table or running a query would scan, and look at a few of the rows."""

from collections.abc import Iterator, Sequence

from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient

from penstock_dataprep.sources.base import SourceBatch
from penstock_dataprep.sources.bigquery.batch import RawBatch
from penstock_dataprep.sources.bigquery.faults import ANY, explain
from penstock_dataprep.sources.bigquery.session import PLACE, Request, open_session
from penstock_dataprep.sources.survey import Survey
from penstock_shared.errors import UserMistake

QUERY = "source.bigquery.query"


def survey_table(
    client: bigquery.Client, reader: BigQueryReadClient, table: bigquery.Table, request: Request
) -> Survey:
    """Return the size of a table: what the Storage API estimates of a session, or else a dry run and the metadata."""
    session = open_session(reader, request, f"{request.table} where {request.restriction or 'TRUE'}")
    rows, rows_from = table.num_rows or 0, "all rows of the table, by its metadata"
    if request.restriction:
        rows_from = "all rows of the table, for where does not tell how many it keeps: at most"
        if 0 < session.estimated_row_count < rows:
            rows, rows_from = session.estimated_row_count, "rows of the partitions that where leaves, at most"
    scanned, bytes_from = session.estimated_total_bytes_scanned, "estimated by the Storage API for the columns taken"
    if not scanned:
        scanned, bytes_from = _dry_run_bytes(client, request, table)
    return Survey(
        rows=rows,
        rows_from=rows_from,
        bytes_scanned=scanned,
        bytes_from=bytes_from,
        nullable=_nullable(table.schema, request.columns),
        locations=((f"dataset of {request.table}", str(table.location)),) if table.location else (),
    )


def survey_query(client: bigquery.Client, query: str, result: str, columns: list[str]) -> Survey:
    """Return what a dry run tells of a query, and of its result what the tables it reads tell.

    Raises UserMistake where the dataset for the result lies elsewhere than the tables.
    """
    try:
        job = client.query(query, job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False))
        tables = [client.get_table(reference) for reference in job.referenced_tables]
        dataset = client.get_dataset(result.rpartition(".")[0])
    except ANY as fault:
        raise explain(fault, QUERY, "the query or the dataset for its result", "mend the query") from None
    places = [(f"dataset of {table.full_table_id}", str(table.location)) for table in tables if table.location]
    for what, place in places:
        if dataset.location and place.upper() != str(dataset.location).upper():
            raise UserMistake(
                f"source.bigquery.dataset: lies in {dataset.location}, but the {what} in {place}; BigQuery writes the "
                "result of a query where its tables are: name a dataset there"
            )
    kept = kept_result(client, result)
    rows: int | None
    if kept is not None:
        rows, rows_from = kept.num_rows or 0, f"counted in {result}, where an earlier run kept the result"
        scanned, bytes_from = kept.num_bytes or 0, f"all of {result}"
    else:
        rows = sum(table.num_rows or 0 for table in tables) if tables else None
        rows_from = "all rows of the tables that the query reads; joins make more, filters and groups fewer"
        scanned, bytes_from = job.total_bytes_processed or 0, "no more than the query scans, unless it makes rows"
    return Survey(
        rows=rows,
        rows_from=rows_from,
        bytes_scanned=scanned,
        bytes_from=bytes_from,
        nullable=_nullable(job.schema or (), columns),
        bytes_queried=0 if kept is not None else job.total_bytes_processed or 0,
        locations=tuple(places),
    )


def sample_table(reader: BigQueryReadClient, request: Request, rows: int) -> Iterator[SourceBatch]:
    """Yield up to `rows` rows, as many from each stream of a session, whose streams are of different parts."""
    session = open_session(reader, request, request.table)
    schema, left = session.arrow_schema.serialized_schema, rows
    for number, stream in enumerate(session.streams):
        wanted = -(-left // (len(session.streams) - number))
        try:
            responses = reader.read_rows(read_stream=stream.name, offset=0)
            for response in responses:
                if not response.row_count:
                    continue
                message = response.arrow_record_batch.serialized_record_batch
                raw = RawBatch(request.table, schema, (message,), response.row_count, rows - left, request.columns)
                held = raw.decode().head(wanted)
                yield held
                wanted, left = wanted - len(held.rows), left - len(held.rows)
                if wanted == 0:
                    responses.cancel()  # type: ignore[attr-defined]
                    break
        except ANY as fault:
            raise explain(fault, PLACE, request.table) from None


def kept_result(client: bigquery.Client, result: str) -> bigquery.Table | None:
    """Return the table with a query's result, None where no earlier run kept it."""
    try:
        return client.get_table(result)
    except exceptions.NotFound:
        return None
    except ANY as fault:
        raise explain(fault, QUERY, f"its result in {result}") from None


def _dry_run_bytes(client: bigquery.Client, request: Request, table: bigquery.Table) -> tuple[int, str]:
    roots = ", ".join(f"`{name}`" for name in dict.fromkeys(column.split(".")[0] for column in request.columns))
    where = f" WHERE {request.restriction}" if request.restriction else ""
    statement = f"SELECT {roots} FROM `{request.table}`{where}"
    try:
        job = client.query(statement, job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False))
    except ANY:  # Reading a table needs no permission to run queries.
        return table.num_bytes or 0, "all columns of the table, by its metadata: at most"
    return job.total_bytes_processed or 0, f"dry run of {statement}"


def _nullable(fields: Sequence[bigquery.SchemaField], columns: Sequence[str]) -> frozenset[str]:
    """Return the columns taken that are nullable, or in a record that is."""
    found = set()
    for path in columns:
        held = {field.name: field for field in fields}
        for name in path.split("."):
            field = held.get(name)
            if field is None or field.mode == "REPEATED":
                break
            if field.mode != "REQUIRED":
                found.add(path)
            held = {inner.name: inner for inner in field.fields}
    return frozenset(found)
