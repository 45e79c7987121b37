"""Find a BigQuery table before the job, pin it as it is, cut it into ranges, and read them."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from google.cloud import bigquery
from pydantic import TypeAdapter

from penstock_dataprep.sources.base import ROW_COLUMN, Schema, SourceBatch, Unit
from penstock_dataprep.sources.bigquery import clients
from penstock_dataprep.sources.bigquery.batch import RawBatch
from penstock_dataprep.sources.bigquery.clients import read_client, rest_client
from penstock_dataprep.sources.bigquery.columns import Column, read_columns
from penstock_dataprep.sources.bigquery.faults import ANY, explain
from penstock_dataprep.sources.bigquery.halves import StreamSplitter
from penstock_dataprep.sources.bigquery.partitions import choose_hashed, partitioning_of
from penstock_dataprep.sources.bigquery.query import dry_run, materialise, result_table, state_of
from penstock_dataprep.sources.bigquery.ranges import TableRange, cut, restrict
from penstock_dataprep.sources.bigquery.session import PLACE, Request, check_readable, read_share
from penstock_dataprep.sources.bigquery.share import Share
from penstock_dataprep.sources.bigquery.survey import kept_result, sample_table, survey_query, survey_table
from penstock_dataprep.sources.bigquery.tracker import Claims, ShareTracker
from penstock_dataprep.sources.bigquery.volatile import check_steady
from penstock_dataprep.sources.survey import Survey
from penstock_dataprep.spec.source import BigQuerySpec
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.storage.memo import recall, remember
from penstock_dataprep.storage.scratch import Scratch
from penstock_shared.errors import UserMistake
from penstock_shared.origin import Source, TableSource
from penstock_shared.strict import nearest

MILLISECOND = datetime.timedelta(milliseconds=1)
VIEWS = ("VIEW", "MATERIALIZED_VIEW")


@dataclass(frozen=True)
class Pin:
    """Hold what all attempts of one build must agree on: the moment to read at, and the ranges.

    `rows` and `bytes` are the table's, whatever is read of it.
    """

    snapshot_time: str
    rows: int
    bytes: int
    units: tuple[TableRange, ...]


PIN: TypeAdapter[Pin] = TypeAdapter(Pin)


@dataclass(frozen=True)
class TableOrigin:
    """Hold a table as it was found; for a query, the table its result is, or will be, kept in.

    `hashed` is the column, as SQL text, whose hash may cut the table; `pin` is set once the build has begun.
    """

    source: BigQuerySpec
    parent: str
    table: str
    state: Any
    hashed: str | None
    pin: Pin | None = None

    @property
    def units(self) -> tuple[Unit, ...]:
        """Return the ranges, none before they are pinned."""
        return self.pin.units if self.pin else ()

    @property
    def rows_expected(self) -> int | None:
        """Return the rows of the table, None where they are not known or not all read."""
        return (self.pin.rows or None) if self.pin and self.source.where is None else None

    def identity(self) -> Any:
        """Return the table and its state; at a moment that the spec gives, a table has but one."""
        fixed = self.source.snapshot_time is not None
        return {"table": self.table, "state": {"created": self.state["created"]} if fixed else self.state}

    def pinned(self, scratch: Scratch, name: str) -> "TableOrigin":
        """Return the origin with its ranges and moment, as an earlier attempt of the build pinned them or as of now."""
        pin = recall(scratch, f"source/{name}", PIN)
        if pin is None:
            pin = self._make_pin()
            remember(scratch, f"source/{name}", PIN, pin)
        return replace(self, pin=pin)

    def _make_pin(self) -> Pin:
        client = rest_client(self.source.billing_project)
        if self.source.query is not None:
            table = materialise(client, self.source.query, self.table)
            moment = table.modified
        else:
            table = get_table(client, self.table)
            now = datetime.datetime.now(datetime.timezone.utc)
            moment = self.source.snapshot() or after_change(now, table.modified)
        partitioning = partitioning_of(client, table, self.source.rows_per_range)
        rows = table.num_rows or 0
        units = cut(self.table, rows, self.source.rows_per_range, partitioning, self.hashed)
        return Pin(moment.isoformat(), rows, table.num_bytes or 0, units)

    def read(self, unit: Unit, columns: list[str]) -> Iterator[RawBatch]:
        """Yield the rows of a range, compressed as they came."""
        yield from self.read_share(unit, columns, ShareTracker(Share(), StreamSplitter(read_client())))

    def read_share(self, unit: Unit, columns: list[str], claims: Claims) -> Iterator[RawBatch]:
        """Yield the rows of a share of a range, of which others may be given away until all have come."""
        assert isinstance(unit, TableRange)
        restriction = restrict(self.source.where, unit.restriction)
        place = f"{self.table} where {restriction}" if restriction else self.table
        yield from read_share(read_client(), self._request(columns, restriction), place, claims)

    def _request(self, columns: list[str], restriction: str) -> Request:
        # A query's result does not change, and there is nothing of it before it was kept.
        moment = None
        if self.source.query is None:
            moment = datetime.datetime.fromisoformat(self.pin.snapshot_time) if self.pin else self.source.snapshot()
        return Request(self.parent, self.table, tuple(columns), restriction, moment)

    def survey(self, columns: list[str]) -> Survey:
        """Return the size of the table, or what a dry run tells of the query."""
        client = rest_client(self.source.billing_project)
        if self.source.query is not None and self.pin is None:
            return survey_query(client, self.source.query, self.table, columns)
        table = get_table(client, self.table)
        return survey_table(client, read_client(), table, self._request(columns, self.source.where or ""))

    def sample(self, columns: list[str], rows: int) -> Iterator[SourceBatch]:
        """Yield the first rows of the streams of a session; none of a query whose result is not kept yet."""
        client = rest_client(self.source.billing_project)
        if self.source.query is None or self.pin is not None or kept_result(client, self.table) is not None:
            yield from sample_table(read_client(), self._request(columns, self.source.where or ""), rows)

    def entry(self, rows: int, types: dict[str, str]) -> Source:
        """Return the manifest's record of the table."""
        assert self.pin is not None
        return TableSource(
            kind="bigquery",
            table=self.table,
            query=self.source.query,
            where=self.source.where,
            snapshot_time=self.pin.snapshot_time,
            rows=rows,
            bytes=self.pin.bytes,
            columns=types,
        )

    def repeats(self, older: Source, version: str) -> str | None:
        """Return what `version` has read already: the same rows of the same table, or the same query's result."""
        if not isinstance(older, TableSource):
            return None
        asked = (self.source.query or self.table, self.source.where)
        if asked != (older.query or older.table, older.where):
            return None
        return (
            f"{PLACE}: version {version} has read the same table, query and where; its rows would come twice. "
            "Name the new rows alone, by where"
        )

    def check(self, columns: list[str]) -> None:
        """Raise UserMistake where the rows cannot be read, for want of permission or by a wrong condition."""
        if self.source.query is None:
            check_readable(read_client(), self._request(columns, self.source.where or ""))


def after_change(now: datetime.datetime, modified: datetime.datetime | None) -> datetime.datetime:
    """Return a moment to read a table at, as it was found: not before its last change, as a slow clock here would be.

    BigQuery tells milliseconds, cut off.
    """
    return now if modified is None else max(now, modified + MILLISECOND)


def find(spec: Spec) -> tuple[TableOrigin, list[Schema]]:
    """Find the table or query of a spec's source, and check that the columns taken of it can be read."""
    held = spec.source.bigquery
    assert held is not None
    check_steady(held)
    client = rest_client(held.billing_project)
    if held.query is not None:
        fields, state = dry_run(client, held.query)
        table, place = result_table(str(held.dataset), state), "the result of the query"
    else:
        found = get_table(client, str(held.table))
        fields, state, table, place = list(found.schema), state_of(found), str(held.table), str(held.table)
    columns = read_columns(fields)
    taken = sorted({spec.source_column(name) for name in spec.columns})
    _check_taken(spec, columns, place)
    origin = TableOrigin(held, held.billing_project or client.project, table, state, choose_hashed(spec, fields))
    origin.check(taken)
    readable = {name: column.arrow for name, column in columns.items() if column.arrow is not None}
    return origin, [Schema(place, readable, {name: column.type for name, column in columns.items()})]


def get_table(client: bigquery.Client, name: str) -> bigquery.Table:
    """Return a table's metadata. Raises UserMistake for one that is not there, not to be seen, or no table."""
    try:
        table = client.get_table(name, retry=clients.FIRST_ANSWER)
    except ANY as fault:
        raise explain(fault, f"{PLACE}.table", name) from None
    if table.table_type in VIEWS:
        raise UserMistake(
            f"{PLACE}.table: {name} is a {table.table_type}, which the Storage API cannot read; "
            f"give query: SELECT ... FROM `{name}`, and dataset"
        )
    return table


def _check_taken(spec: Spec, columns: dict[str, Column], place: str) -> None:
    faults = []
    for name in spec.columns:
        source = spec.source_column(name)
        if source == ROW_COLUMN:
            faults.append(f"columns.{name}: rows of a table have no place, so there is no {ROW_COLUMN}; take a time")
        elif source not in columns:
            faults.append(f"columns.{name}: no column {source!r} in {place}; {nearest(source, columns)}")
        elif (column := columns[source]).arrow is None:
            faults.append(f"columns.{name}: {source!r} has type {column.type} in {place}: {column.reason}")
    if faults:
        raise UserMistake("\n".join(faults))
