"""Describe the values of each column: nulls, distinct and most frequent values, the range and mean of numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from penstock_training.peek.columns import Column
from penstock_training.peek.table import Rows

MOST_FREQUENT = 3
# Time, as whole numbers of these units since 1970, or midnight.
UNITS = {"DATE": "D", "TIMESTAMP": "us"}


@dataclass(frozen=True)
class Summary:
    """Hold what was found in a column; `values` counts those that are neither null nor NaN, many to a row in lists.

    Numbers have `mean`, all but lists of bytes and text `smallest` and `largest`; infinite ones are in neither. `top`
    are the most frequent values with their counts, where one occurs twice; `longest` is the length of a list.
    """

    name: str
    type: str
    dtype: str
    nullable: bool
    nulls: int
    nans: int
    values: int
    distinct: int
    smallest: Any
    largest: Any
    mean: float | None
    longest: int | None
    top: list[tuple[Any, int]]


def summarise(rows: Rows) -> list[Summary]:
    """Return the summary of each column."""
    return [_summary(column, rows.values[column.name], rows.nulls[column.name]) for column in rows.columns]


def example_rows(rows: Rows, count: int) -> list[dict[str, Any]]:
    """Return the first rows as plain values, None for null."""
    held = {column.name: _plain_column(column, rows, min(count, rows.count)) for column in rows.columns}
    return [dict(zip(held, row, strict=True)) for row in zip(*held.values(), strict=True)]


def _summary(column: Column, values: tf.Tensor, nulls: np.ndarray) -> Summary:
    longest = None
    if column.repeated:
        ragged = isinstance(values, tf.RaggedTensor)
        longest = int(tf.reduce_max(values.row_lengths())) if ragged else int(values.shape[1])
        held = values.flat_values.numpy() if ragged else values.numpy().reshape(-1)
    else:
        held = values.numpy()[~nulls]
    nan = held != held
    held = held[~nan]
    tokens, counts = np.unique(held, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: MOST_FREQUENT if counts.max(initial=0) > 1 else 0]
    is_number = column.dtype not in ("string", "bool")
    finite = held[np.isfinite(held)] if is_number else held[:0]
    return Summary(
        name=column.name,
        type=column.type_name,
        dtype=column.dtype,
        nullable=column.nullable,
        nulls=int(nulls.sum()),
        nans=int(nan.sum()),
        values=len(held),
        distinct=len(tokens),
        smallest=_plain(column, finite.min()) if len(finite) else None,
        largest=_plain(column, finite.max()) if len(finite) else None,
        mean=float(finite.mean()) if len(finite) and column.type in ("INT64", "FLOAT64") else None,
        longest=longest,
        top=[(_plain(column, tokens[place]), int(counts[place])) for place in order],
    )


def _plain_column(column: Column, rows: Rows, count: int) -> list[Any]:
    values = rows.values[column.name][:count]
    if column.repeated:
        lists = values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy().tolist()
        return [[_plain(column, value) for value in held] for held in lists]
    nulls = rows.nulls[column.name]
    return [None if null else _plain(column, value) for value, null in zip(values.numpy(), nulls, strict=False)]


def _plain(column: Column, value: Any) -> Any:
    """Return a value as JSON holds it: text for bytes, moments and numbers that are not finite."""
    if column.type in UNITS:
        return str(np.datetime64(int(value), UNITS[column.type]))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    plain = value.item() if isinstance(value, np.generic) else value
    return str(plain) if isinstance(plain, float) and not np.isfinite(plain) else plain
