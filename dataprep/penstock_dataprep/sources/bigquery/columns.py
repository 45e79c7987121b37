"""Tell which columns of a BigQuery schema can be read, and as which Arrow types."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from google.cloud.bigquery import SchemaField

# BigQuery's metadata uses the names of its old dialect for four types.
STANDARD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
ARROW_TYPES: dict[str, pa.DataType] = {
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal256(76, 38),
    "BOOL": pa.bool_(),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
    "TIME": pa.int64(),  # microseconds since midnight
    "JSON": pa.string(),  # as text
    "GEOGRAPHY": pa.string(),  # as well-known text
}
REMEDIES = {
    "INTERVAL": "read a query that takes a number of it, such as EXTRACT(DAY FROM {name})",
    "RANGE": "read a query that takes RANGE_START({name}) or RANGE_END({name})",
}


@dataclass(frozen=True)
class Column:
    """Describe one column or field of a record, `name` its dotted path.

    `arrow` is the type it is read as, or None where it cannot be read, for which `reason` says why and what to do.
    """

    name: str
    type: str
    arrow: pa.DataType | None
    reason: str = ""


def read_columns(fields: Sequence[SchemaField]) -> dict[str, Column]:
    """Return all columns of a schema, and the fields of its records, by dotted path."""
    return {column.name: column for column in _walk(fields, "", False)}


def _walk(fields: Sequence[SchemaField], prefix: str, in_list: bool) -> Iterator[Column]:
    for field in fields:
        name = f"{prefix}{field.name}"
        kind = STANDARD_NAMES.get(field.field_type, field.field_type)
        repeated = field.mode == "REPEATED"
        described = f"ARRAY<{kind}>" if repeated or in_list else kind
        if kind == "STRUCT":
            inner = ", ".join(f"{name}.{held.name}" for held in field.fields)
            yield Column(name, described, None, f"take one of its fields: {inner}")
            yield from _walk(field.fields, f"{name}.", repeated or in_list)
        elif repeated and in_list:
            yield Column(name, f"ARRAY<ARRAY<{kind}>>", None, "read a query that joins it with UNNEST")
        elif kind in ARROW_TYPES:
            value = ARROW_TYPES[kind]
            yield Column(name, described, pa.list_(value) if repeated or in_list else value)
        else:
            remedy = REMEDIES.get(kind, "read a query that casts it to another type")
            yield Column(name, described, None, remedy.format(name=name))
