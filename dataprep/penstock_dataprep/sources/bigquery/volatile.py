"""Refuse SQL that gives other rows each time, though what it reads is the same.

A version is of one query, or condition, over one state of a table: it is found, not built again, while that does not
change, and a killed build goes on with what it has read.
"""

import re

from penstock_dataprep.spec.source import BigQuerySpec
from penstock_shared.errors import UserMistake

# Text, names in backticks and comments of SQL.
NOT_CODE = re.compile(
    r"'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`[^`]*`|(?:--|\#)[^\n]*|/\*.*?\*/",
    re.DOTALL,
)
VOLATILE = re.compile(
    r"\b(CURRENT_(?:DATE|TIME|DATETIME|TIMESTAMP)|RAND(?=\s*\()|GENERATE_UUID|SESSION_USER|TABLESAMPLE)\b",
    re.IGNORECASE,
)


def check_steady(source: BigQuerySpec) -> None:
    """Raise UserMistake where the rows of a query, or those that `where` keeps, do not follow from what is read."""
    for key, text in (("query", source.query), ("where", source.where)):
        if text is not None and (name := volatile(text)) is not None:
            raise UserMistake(
                f"source.bigquery.{key}: {name} gives other rows each time, but a dataset that exists is found, not "
                "built again; write the moment itself, or for a sample MOD(FARM_FINGERPRINT(id), 10) = 0"
            )


def volatile(query: str) -> str | None:
    """Return the first word of a query that makes its result another each time, None where there is none."""
    found = VOLATILE.search(NOT_CODE.sub(" ", query))
    return found[1].upper() if found else None
