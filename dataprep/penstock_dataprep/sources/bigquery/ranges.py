"""Cut a table into ranges of rows that one session each can read, by its partitions or by a hash.

Ranges are conditions on a column that leave no gap: every row is in exactly one, whatever is known of the partitions,
which only say where to cut.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from penstock_dataprep.sources.base import Unit

# A range of so many times the wanted rows is cut by a hash. BigQuery then reads all of it for each part, and bills it.
RANGES_BEFORE_HASH = 20
TIME_PARTS = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?")
LITERALS = {
    "DATE": "DATE '{0}-{1}-{2}'",
    "DATETIME": "DATETIME '{0}-{1}-{2} {3}:00:00'",
    "TIMESTAMP": "TIMESTAMP '{0}-{1}-{2} {3}:00:00+00'",
}


@dataclass(frozen=True)
class TableRange(Unit):
    """Name the rows of a table for which `restriction` holds, all where it is empty."""

    restriction: str


class Partitioning(NamedTuple):
    """Say how a table is partitioned: by a column or pseudo-column, as SQL, of a BigQuery type.

    `partitions` are (partition id, rows).
    """

    column: str
    type: str
    partitions: list[tuple[str, int]]


def cut(
    table: str, rows: int, rows_per_range: int, partitioning: Partitioning | None, hashed: str | None
) -> tuple[TableRange, ...]:
    """Return the ranges of a table, those of many rows first; `hashed` is the column, as SQL text, to hash."""
    found = [("", rows)] if partitioning is None else _runs(partitioning, rows_per_range)
    cuts = []
    for restriction, held in found:
        parts = math.ceil(held / (rows_per_range * RANGES_BEFORE_HASH))
        if hashed is None or parts < 2:
            cuts.append((restriction, held))
        else:
            cuts += [(_both(restriction, _part(hashed, parts, part)), held // parts) for part in range(parts)]
    return tuple(TableRange(table, held, restriction) for restriction, held in sorted(cuts, key=lambda one: -one[1]))


def _runs(partitioning: Partitioning, rows_per_range: int) -> list[tuple[str, int]]:
    """Return (restriction, rows) of runs of partitions; the first and last run have no end, and nulls are apart."""
    starts = sorted(
        (start, rows)
        for partition, rows in partitioning.partitions
        if (start := partition_start(partition, partitioning.type)) is not None
    )
    others = sum(rows for _, rows in partitioning.partitions) - sum(rows for _, rows in starts)
    runs: list[tuple[str | None, int]] = []
    for (_, literal), rows in starts:
        if runs and runs[-1][1] + rows <= rows_per_range:
            runs[-1] = (runs[-1][0], runs[-1][1] + rows)
        else:
            runs.append((literal, rows))
    column, edges = partitioning.column, [literal for literal, _ in runs[1:]]
    bounds = zip([None, *edges], [*edges, None], strict=True)
    found = []
    for (low, high), (_, rows) in zip(bounds, runs or [(None, 0)], strict=True):
        conditions = [f"{column} >= {low}"] * (low is not None) + [f"{column} < {high}"] * (high is not None)
        found.append((" AND ".join(conditions) or f"{column} IS NOT NULL", rows))
    return [*found, (f"{column} IS NULL", others)]


def partition_start(partition: str, column_type: str) -> tuple[tuple[int, ...], str] | None:
    """Return (what orders it, SQL literal) of the smallest value of a partition; None for those not of values."""
    if column_type == "INT64":
        return ((int(partition),), partition) if re.fullmatch(r"-?\d+", partition) else None
    parts = TIME_PARTS.fullmatch(partition)
    if parts is None:
        return None
    year, month, day, hour = parts[1], parts[2] or "01", parts[3] or "01", parts[4] or "00"
    order = (int(year), int(month), int(day), int(hour))
    return order, LITERALS[column_type].format(year, month, day, hour)


def restrict(*conditions: str | None) -> str:
    """Return the conjunction of those conditions that are not empty."""
    held: Iterable[str] = [condition for condition in conditions if condition]
    return " AND ".join(f"({condition})" for condition in held)


def _both(one: str, other: str) -> str:
    return restrict(one, other) if one else other


def _part(hashed: str, parts: int, part: int) -> str:
    # MOD before ABS, which the smallest INT64 would overflow; a null has no fingerprint and goes to part 0.
    return f"IFNULL(ABS(MOD(FARM_FINGERPRINT({hashed}), {parts})), 0) = {part}"
