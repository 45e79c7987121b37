"""Say which columns tensorflow-io can read: from the Avro schema that a read session answers with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock_shared.errors import UserMistake

ROLES = ("user", "item", "label")
# BigQuery's type and the dtype of its tensor, by Avro's type and the logical type that refines it.
TYPES = {
    ("boolean", None): ("BOOL", "bool"),
    ("long", None): ("INT64", "int64"),
    ("double", None): ("FLOAT64", "float64"),
    ("string", None): ("STRING", "string"),
    ("bytes", None): ("BYTES", "string"),
    ("int", "date"): ("DATE", "int32"),
    ("long", "time-micros"): ("TIME", "int64"),
    ("long", "timestamp-micros"): ("TIMESTAMP", "int64"),
    ("string", "DATETIME"): ("DATETIME", "string"),
    ("string", "GEOGRAPHY"): ("GEOGRAPHY", "string"),
    ("string", "JSON"): ("JSON", "string"),
}
# What TYPES has no tensor for, as BigQuery calls it.
UNREAD = {"record": "RECORD", "decimal": "NUMERIC", "local-timestamp-micros": "DATETIME"}
READ = "INT64, FLOAT64, BOOL, STRING, BYTES, DATE, TIME, TIMESTAMP, DATETIME, GEOGRAPHY, JSON, and lists of the first 4"
# The reader knows no lists of the others.
LISTED = ("BOOL", "INT64", "FLOAT64", "STRING")


@dataclass(frozen=True)
class Column:
    """Describe a column: BigQuery's type of its values, the dtype of their tensor, whether they are nulls or lists."""

    name: str
    type: str
    dtype: str
    nullable: bool = False
    repeated: bool = False

    @property
    def type_name(self) -> str:
        """Return BigQuery's type of the whole column."""
        return f"ARRAY<{self.type}>" if self.repeated else self.type


def check_table(name: str) -> None:
    """Raise UserMistake where `name` is not PROJECT.DATASET.TABLE."""
    parts = name.split(".")
    if len(parts) != 3 or not all(parts):
        raise UserMistake(f"--bigquery {name}: expected PROJECT.DATASET.TABLE, such as my-project.shop.events")


def parse_wanted(text: str) -> dict[str, str | None]:
    """Return the roles, or None, of the columns that --columns names, such as user_id=user,item_id=item,day.

    Raises UserMistake for a column that is empty, dotted or there twice, and a role that is unknown or there twice.
    """
    wanted: dict[str, str | None] = {}
    for part in text.split(","):
        name, has_role, role = (word.strip() for word in part.partition("="))
        if not name:
            raise UserMistake(f"--columns {text}: found a column without a name, expected such as user_id,item_id")
        if "." in name:
            raise UserMistake(
                f"--columns {text}: {name} is a field of a RECORD, which tensorflow-io cannot read; leave it out, or "
                "build a dataset with penstock-data, which reads it"
            )
        if has_role and role not in ROLES:
            raise UserMistake(f"--columns {text}: found {part.strip()}, expected a role of {', '.join(ROLES)}")
        if name in wanted or (has_role and role in wanted.values()):
            raise UserMistake(f"--columns {text}: {name if name in wanted else role} is there twice, expected once")
        wanted[name] = role or None
    return wanted


def readable_columns(avro_schema: str, names: Sequence[str], table: str) -> list[Column]:
    """Return the columns `names` of a session's schema; raises UserMistake naming each that cannot be read."""
    fields = {field["name"]: field["type"] for field in json.loads(avro_schema)["fields"]}
    columns, faults = [], []
    for name in names:
        if name not in fields:
            faults.append(f"{table}: has no column {name}")
            continue
        found = _column(name, fields[name])
        if isinstance(found, Column):
            columns.append(found)
        else:
            faults.append(
                f"{table}: column {name} is of type {found}, which tensorflow-io cannot read; peek reads {READ}; leave "
                "it out of --columns, or build a dataset with penstock-data, which reads more types"
            )
    if faults:
        raise UserMistake("\n".join(faults))
    return columns


def _column(name: str, kind: Any) -> Column | str:
    """Return the column, or the name of the type that cannot be read."""
    kind, nullable = _not_null(kind)
    repeated = _base(kind) == "array"
    if repeated:
        kind, _ = _not_null(kind["items"])
    refined = _refined(kind)
    found = TYPES.get((_base(kind), refined))
    if found is None or (repeated and found[0] not in LISTED):
        shown = found[0] if found else UNREAD.get(refined or "", UNREAD.get(_base(kind), refined or _base(kind)))
        return f"ARRAY<{shown}>" if repeated else shown
    return Column(name, *found, nullable=nullable and not repeated, repeated=repeated)


def _not_null(kind: Any) -> tuple[Any, bool]:
    if not isinstance(kind, list):
        return kind, False
    (held,) = (one for one in kind if one != "null")
    return held, "null" in kind


def _base(kind: Any) -> str:
    base = kind["type"] if isinstance(kind, dict) else kind
    return base if isinstance(base, str) else _base(base)


def _refined(kind: Any) -> str | None:
    if not isinstance(kind, dict):
        return None
    # BigQuery names types that Avro has no logical type for in sqlType; DATETIME is in both.
    refined: str | None = kind.get("sqlType") or kind.get("logicalType")
    if refined == "datetime":
        return "DATETIME"
    return refined or (_refined(kind["type"]) if isinstance(kind["type"], dict) else None)
