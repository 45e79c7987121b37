"""Peek at a table: read a few rows, describe their columns, print them."""

import json
import time
from dataclasses import asdict
from typing import Any

from penstock_training.peek.summary import Summary, example_rows, summarise
from penstock_training.peek.table import read_rows

EXAMPLES = 5
LONGEST_CELL = 40
HEADER = ("column", "type", "tensor", "nulls", "distinct", "smallest", "largest", "mean", "longest", "most frequent")


def peek(table: str, names: list[str], rows: int, where: str, as_json: bool) -> None:
    """Print what is in up to `rows` rows of the table's columns; raises UserMistake where they cannot be read."""
    started = time.monotonic()
    read = read_rows(table, names, rows, where)
    seconds = time.monotonic() - started
    summaries, examples = summarise(read), example_rows(read, EXAMPLES)
    if as_json:
        document = {"table": table, "where": where, "rows": read.count, "seconds": round(seconds, 3)}
        print(json.dumps({**document, "columns": [asdict(summary) for summary in summaries], "examples": examples}))
        return
    print(f"{table}: {read.count:,} rows in {seconds:.1f} s: the first that its streams give, no random sample")
    print()
    print(_lines([HEADER, *(_cells(summary) for summary in summaries)]))
    print()
    print(_lines([tuple(names), *(tuple(_shown(row[name]) for name in names) for row in examples)]))


def _cells(summary: Summary) -> tuple[str, ...]:
    missing = f"{summary.nulls:,}" + (f" and {summary.nans:,} NaN" if summary.nans else "")
    return (
        summary.name,
        summary.type,
        summary.dtype,
        missing,
        f"{summary.distinct:,}",
        *("" if value is None else _shown(value) for value in (summary.smallest, summary.largest)),
        "" if summary.mean is None else f"{summary.mean:.6g}",
        "" if summary.longest is None else str(summary.longest),
        ", ".join(f"{_shown(value)} ({count:,})" for value, count in summary.top),
    )


def _shown(value: Any) -> str:
    text = "null" if value is None else value if isinstance(value, str) else json.dumps(value)
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def _lines(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
