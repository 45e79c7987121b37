"""Account in plain Python for what appended versions must hold."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from logs import (
    RICH_COLUMNS,
    TEST_FRACTION,
    id_of,
    ranked,
    rich_log,
)

DAYS, ROWS_PER_DAY, DAY, FIRST_USERS = 4, 900, 10_000_000, 150
VOCABULARIES = {"user_id": ("user_id",), "item_id": ("item_id", "history")}


def day(number: int) -> pa.Table:
    """Return the log of one day: half of its users and items are new, and some of its numbers wider than before."""
    table = rich_log(ROWS_PER_DAY, seed=20 + number)
    is_new = np.arange(table.num_rows) % 2 == 1
    # Few enough that the first day's ids fit a byte, and the second day's do not.
    users = table["user_id"].to_numpy() % FIRST_USERS + np.where(is_new, number * DAY, 0)
    items = [
        f"{number}/{item}" if new else item for item, new in zip(table["item_id"].to_pylist(), is_new, strict=True)
    ]
    columns = {
        "user_id": users,
        "item_id": pa.array(items),
        # Thirds take all the bits of a float; halves do not.
        "rating": table["rating"].to_numpy() / (3 if number == 2 else 1),
        "timestamp": table["timestamp"].to_numpy() + number * DAY,
    }
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(column))
    return table


def best_cut(times: list[int]) -> int:
    """Return the time, not the first, from which on the share of rows is nearest to the test fraction."""
    counts = sorted(Counter(times).items())
    best, left = (2.0, 0), len(times) - counts[0][1]
    for time, count in counts[1:]:
        best = min(best, (abs(left / len(times) - TEST_FRACTION), time))
        left -= count
    return best[1]


class Account:
    """Append days to vocabularies and splits in plain Python."""

    def __init__(self) -> None:
        self.tokens: dict[str, dict[Any, int]] = {name: {} for name in VOCABULARIES}
        self.rows: dict[str, Counter] = {"train": Counter(), "test": Counter()}

    def append(self, table: pa.Table) -> None:
        """Add a day: count over its train rows, number new tokens after the old, map its rows."""
        valid = [row for row in table.to_pylist() if row["rating"] == row["rating"] and row["rating"] <= 5]
        cut = best_cut([row["timestamp"] for row in valid])
        train = [row for row in valid if row["timestamp"] < cut]
        for name, columns in VOCABULARIES.items():
            held = self.tokens[name]
            values = [value for row in train for column in columns for value in self._values(row[column])]
            for token, count in Counter(values).items():
                if token in held:
                    held[token] += count
            new = [value for value in values if value not in held]
            held.update(ranked(new, RICH_COLUMNS[name]["vocabulary"].get("min_count", 1)))
        # What was tested on once is trained on now.
        self.rows = {"train": self.rows["train"] + self.rows["test"], "test": Counter()}
        places = {name: {token: rank for rank, token in enumerate(held)} for name, held in self.tokens.items()}
        for row in valid:
            self.rows["test" if row["timestamp"] >= cut else "train"][self._mapped(row, places)] += 1

    @staticmethod
    def _values(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [] if value is None else [value]

    @staticmethod
    def _mapped(row: dict[str, Any], places: dict[str, dict[Any, int]]) -> tuple[Any, ...]:
        return (
            id_of(row["user_id"], places["user_id"], 3),
            id_of(row["item_id"], places["item_id"], 2),
            tuple(id_of(token, places["item_id"], 2) for token in row["history"] or []),
            float(np.float32(row["rating"])),
            None if row["price"] is None else float(np.float32(row["price"])),
            row["stock"],
            tuple(row["scores"]),
            row["timestamp"],
        )
