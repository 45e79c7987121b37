"""Make logs full of ties, and specs that make histories and sequences of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from event_reference import Row, split_at, split_last
from logs import Built, build, spec_of, write_parquet

COLUMNS = {
    "user_id": {"role": "user", "vocabulary": {"oov_buckets": 2, "min_count": 3}},
    "item_id": {"role": "item", "vocabulary": {"min_count": 2}},
    "rating": {"role": "label", "dtype": "float32"},
    "timestamp": {"role": "time"},
}
HISTORY = {"history": {"key": "user_id", "columns": ["item_id", "rating", "timestamp"], "length": 7}}
SEQUENCES = {
    "examples": "sequences",
    "sequences": {"key": "user_id", "columns": ["item_id", "rating", "timestamp"], "length": 7},
}
BY_TIME = {"by": "time", "test_fraction": 0.2}
LEAVE_LAST = {"by": "leave_last", "n": 2, "validation_n": 1}
BY_USER = {"by": "entity_hash", "column": "user_id", "fractions": {"train": 0.7, "test": 0.3}}


def log_of(seed: int, rows: int = 600) -> pa.Table:
    """Return a log full of ties: users of one event and of many, few moments, no two rows equal."""
    rng = np.random.default_rng(seed)
    table = pa.table(
        {
            "user_id": [f"u{user}" for user in rng.zipf(1.5, rows) % 60],
            "item_id": rng.permutation(rows) % (rows // 4) * 31 - 900,
            "rating": (rng.integers(1, 11, rows) / 2).astype(np.float32),
            "timestamp": rng.integers(-(2**40), 2**40, 50)[rng.integers(0, 50, rows)],
        }
    )
    return table.group_by(table.column_names).aggregate([])


def document(files: Any, split: dict[str, Any], lists: dict[str, Any], **changes: Any) -> dict[str, Any]:
    output = {"rows_per_block": 32, "shard_bytes": "6KB"}
    return {**spec_of(files, COLUMNS, split=split, output=output), **lists, **changes}


def build_log(table: pa.Table, folder: Path, split: dict[str, Any], lists: dict[str, Any], **changes: Any) -> Built:
    return build(document(write_parquet(table, folder / "log", files=2), split, lists, **changes), folder / "out")


def split_of(rows: list[Row], spec: dict[str, Any], built: Built) -> dict[str, list[Row]]:
    """Split rows as the spec says; where time is cut, at the moment that the manifest states."""
    if spec["split"]["by"] == "leave_last":
        return split_last(rows, spec, spec["split"]["n"], spec["split"]["validation_n"])
    return split_at(rows, int(built.manifest.splits["test"].rule.split(">= ")[1].split(",")[0]))
