"""Make days of a log whose rows have histories, append them one by one, and read what versions keep for the next."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from event_logs import BY_TIME, COLUMNS, document, log_of
from logs import Built, build, write_parquet

from penstock_dataprep.histories.tails import decode_tails, oov_buckets

LENGTH = 7
RULES = {
    **COLUMNS,
    "shop": {"vocabulary": {"min_count": 4, "oov_buckets": 3}},
    "kind": {"vocabulary": {"encoding": "hash", "oov_buckets": 5}},
}
LISTED = ["item_id", "rating", "timestamp", "shop", "kind"]
LATER, OVERLAPPING = 2**42, 2**39


def day(number: int, apart: int) -> pa.Table:
    """Return a day's log: some items, shops and users are those of the days before, and so are some moments."""
    table = log_of(seed=60 + number, rows=300 + 100 * number)
    times = table["timestamp"].to_numpy() // 2**37 * 2**37 + apart * number
    items = np.random.default_rng(number).zipf(1.3, table.num_rows) % 150
    table = table.set_column(1, "item_id", pa.array(items)).set_column(3, "timestamp", pa.array(times))
    table = table.group_by(table.column_names).aggregate([])
    shops = [f"shop {item % 101}é" for item in table["item_id"].to_pylist()]
    return table.append_column("shop", pa.array(shops)).append_column("kind", pa.array(shops))


def history(kept: int | None) -> dict[str, Any]:
    """Return the part of a spec that asks for histories."""
    return {"history": {"key": "user_id", "columns": LISTED, "length": LENGTH, "kept": kept}}


def chain_of(
    days: list[pa.Table],
    folder: Path,
    split: dict[str, Any] = BY_TIME,
    kept: int | None = None,
    flags: tuple[str, ...] = (),
    **changes: Any,
) -> list[Built]:
    """Build the first day and append the others one by one."""
    built: list[Built] = []
    for number, table in enumerate(days):
        files = write_parquet(table, folder / f"log-{number}", files=2)
        spec = document(files, split, history(kept), columns=RULES, **changes)
        built.append(build(spec, folder / "out", flags, append_to=built[-1] if built else None))
    return built


def kept_events(built: Built) -> list[tuple[Any, ...]]:
    """Return all kept events in the order of key and time: key, time, how many were dropped before, values, tokens."""
    tails, rows = built.manifest.tails, []
    assert tails is not None
    for file in tails.files:
        content = (built.base / file.path).read_bytes()
        table = decode_tails(content, file.path, tails, oov_buckets(built.manifest))
        rows += list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return rows
