"""Peek at a table: read a few rows, describe their columns, try a recipe on them, print all that."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from penstock_training.peek.summary import Summary, example_rows, summarise
from penstock_training.peek.table import read_rows
from penstock_training.peek.trial import check_roles, try_recipe
from penstock_training.recipe import load_recipe

EXAMPLES = 5
LONGEST_CELL = 40
HEADER = ("column", "type", "tensor", "nulls", "distinct", "smallest", "largest", "mean", "longest", "most frequent")


def peek(
    table: str,
    wanted: dict[str, str | None],
    rows: int,
    where: str,
    recipe_path: str | None,
    settings: Sequence[str],
    as_json: bool,
) -> None:
    """Print what is in up to `rows` rows of the table's columns, and how a recipe's first steps go on them.

    `wanted` are the roles of columns by name, and `settings` go over the recipe. Raises UserMistake where columns
    cannot be read or do not fit the recipe.
    """
    recipe = None if recipe_path is None else load_recipe(recipe_path, settings)
    roles = {role: name for name, role in wanted.items() if role is not None}
    if recipe is not None:
        check_roles(recipe, str(recipe_path), roles)
    started = time.monotonic()
    read = read_rows(table, list(wanted), rows, where)
    seconds = time.monotonic() - started
    trial = None if recipe is None else try_recipe(recipe, str(recipe_path), read, roles)
    summaries, examples = summarise(read), example_rows(read, EXAMPLES)
    if as_json:
        document = {"table": table, "where": where, "rows": read.count, "seconds": round(seconds, 3)}
        document |= {"columns": [asdict(summary) for summary in summaries], "examples": examples}
        print(json.dumps(document | {"trial": None if trial is None else asdict(trial)}))
        return
    print(f"{table}: {read.count:,} rows in {seconds:.1f} s: the first that its streams give, no random sample")
    print()
    print(_lines([HEADER, *(_cells(summary) for summary in summaries)]))
    print()
    print(_lines([tuple(wanted), *(tuple(_shown(row[name]) for name in wanted) for row in examples)]))
    if trial is not None:
        print()
        print(
            f"{recipe_path}: fits; {trial.steps} steps of {trial.batch_rows:,} rows, with {trial.users:,} users and "
            f"{trial.items:,} items: mean loss {trial.first_loss:.4f} in the first half, {trial.last_loss:.4f} in the "
            f"last; {trial.left_out:,} rows with a missing value left out"
        )


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
