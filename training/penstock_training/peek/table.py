"""Read a few rows of a BigQuery table into tensors, through tensorflow_io.bigquery.

The reader takes names and types, and gives a default in place of a null. So a session is opened by names alone, the
Avro schema it answers with tells the types, and its streams are read twice, with two defaults: where the two differ,
there was a null. BIGQUERY_STORAGE_EMULATOR_HOST is host:port of an emulator of the Storage API (v1beta1, which is what
tensorflow-io speaks), to which messages go unencrypted.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from penstock_shared.errors import PenstockError, UserMistake
from penstock_training.peek.columns import Column, readable_columns
from penstock_training.peek.reader import check_reader

STORAGE_EMULATOR = "BIGQUERY_STORAGE_EMULATOR_HOST"
BILLING_PROJECT = "GOOGLE_CLOUD_PROJECT"
# A few, so that rows are not all of one place in the table.
STREAMS = 4
# What stands for a null in the first and in the second reading.
DEFAULTS = {"bool": ("False", "True"), "string": ("", "null"), "int32": ("0", "1"), "int64": ("0", "1")}
DEFAULTS["float64"] = DEFAULTS["int64"]


@dataclass(frozen=True)
class Rows:
    """Hold rows by column: a tensor [rows], ragged of a list column, and bool [rows], true where the value is null."""

    columns: list[Column]
    values: dict[str, tf.Tensor]
    nulls: dict[str, np.ndarray]
    count: int


def read_rows(table: str, names: Sequence[str], rows: int, where: str) -> Rows:
    """Return up to `rows` rows of project.dataset.table for which the SQL condition `where` holds, '' for all.

    Raises UserMistake for a table, column, type or condition that cannot be read, or when there are no rows.
    """
    bigquery, client = _client()
    project, dataset, name = table.split(".")
    parent = f"projects/{os.environ.get(BILLING_PROJECT) or project}"
    with _explained(table, where):
        # The types given here are not sent: the session answers with those of the table.
        session = client.read_session(
            parent, project, name, dataset, {field: {} for field in names}, None, None, where, STREAMS
        )
        # The only place where the reader keeps what BigQuery says of the types.
        columns = readable_columns(session._schema.numpy().decode(), names, table)
        streams = session.get_streams()
        if not int(tf.size(streams)):
            raise _no_rows(table, where)

        def reading(number: int) -> dict[str, tf.Tensor]:
            typed = bigquery.BigQueryReadSession(
                parent,
                project,
                name,
                dataset,
                [column.name for column in columns],
                [column.repeated for column in columns],
                [tf.as_dtype(column.dtype) for column in columns],
                [DEFAULTS[column.dtype][number] for column in columns],
                where,
                STREAMS,
                client.DataFormat.AVRO,
                streams,
                session._schema,
                session._client_resource,
            )
            for batch in typed.parallel_read_rows().take(rows).ragged_batch(rows):
                return dict(batch)
            raise _no_rows(table, where)

        first = reading(0)
        second = reading(1) if any(column.nullable for column in columns) else first
    count = int(first[columns[0].name].shape[0])
    nulls = {
        column.name: _differ(first[column.name].numpy(), second[column.name].numpy())
        if column.nullable
        else np.zeros(count, bool)
        for column in columns
    }
    return Rows(columns, first, nulls, count)


def _client() -> tuple[Any, Any]:
    check_reader(tf.__version__)
    from tensorflow_io import bigquery

    emulator = os.environ.get(STORAGE_EMULATOR)
    return bigquery, bigquery.BigQueryTestClient(emulator) if emulator else bigquery.BigQueryClient()


def _differ(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    # A NaN differs from itself and is no null.
    same: np.ndarray = (first == second) | ((first != first) & (second != second))
    return ~same


def _no_rows(table: str, where: str) -> UserMistake:
    asked = f" for which {where} holds; give another --where" if where else "; there is nothing to look at"
    return UserMistake(f"{table}: has no rows{asked}")


@contextmanager
def _explained(table: str, where: str) -> Iterator[None]:
    """Turn what BigQuery answers into messages for people."""
    try:
        yield
    except tf.errors.OpError as fault:
        said = " ".join(fault.message.partition("}} ")[2].partition(" [Op:")[0].split()) or fault.message
        raise _explain(fault, said, table, where) from None


def _explain(fault: tf.errors.OpError, said: str, table: str, where: str) -> PenstockError:
    if isinstance(fault, (tf.errors.NotFoundError, tf.errors.InvalidArgumentError)):
        condition = f", and a --where that holds for them, not {where!r}" if where else ""
        return UserMistake(
            f"{table}: BigQuery refused it: {said}; expected PROJECT.DATASET.TABLE of a table that exists, not a view, "
            f"columns of it in --columns{condition}"
        )
    if isinstance(fault, tf.errors.PermissionDeniedError):
        return UserMistake(
            f"{table}: permission denied: {said}; the account needs BigQuery Data Viewer on the dataset and BigQuery "
            f"Read Session User on the project that pays: {BILLING_PROJECT}, or else the table's"
        )
    if isinstance(fault, tf.errors.UnauthenticatedError) or "lame client channel" in said:
        return UserMistake(f"{table}: no credentials that work: {said}; run gcloud auth application-default login")
    return PenstockError(f"{table}: cannot be read: {said}; run the same command again")
