"""Hold appended sequences to plain Python: runs of the new rows alone, after those of older versions."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from event_logs import BY_TIME, BY_USER, SEQUENCES, document, log_of, split_of
from event_reference import Ids, as_sequences
from logs import Built, build, contents, rows_of, vocabulary_tokens, write_parquet

from penstock_dataprep.histories import partitions
from penstock_dataprep.verify.dataset import verify

DAY = 2**42


def day(number: int) -> pa.Table:
    """Return a day's log: later, and with other items, than those of the days before."""
    table = log_of(seed=20 + number, rows=500 + 100 * number)
    items = table["item_id"].to_numpy() + 200 * number
    times = table["timestamp"].to_numpy() + DAY * number
    return table.set_column(1, "item_id", pa.array(items)).set_column(3, "timestamp", pa.array(times))


def chain_of(
    days: list[pa.Table], folder: Path, files: int = 2, split: dict[str, Any] = BY_TIME, **changes: Any
) -> list[Built]:
    """Build the first day and append the others one by one."""
    built: list[Built] = []
    for number, table in enumerate(days):
        spec = document(write_parquet(table, folder / f"log-{number}", files), split, SEQUENCES, **changes)
        built.append(build(spec, folder / "out", append_to=built[-1] if built else None))
    return built


@pytest.mark.parametrize("layout", ["blocks", "examples"])
def test_runs_of_new_rows_follow_those_of_older_versions(layout: str, tmp_path: Path) -> None:
    days = [day(number) for number in range(3)]
    chain = chain_of(days, tmp_path, output={"layout": layout, "rows_per_block": 32, "shard_bytes": "6KB"})
    spec, older = document("", BY_TIME, SEQUENCES), Counter[tuple[Any, ...]]()
    for table, built in zip(days, chain, strict=True):
        splits = split_of(table.to_pylist(), spec, built)
        expected = as_sequences(splits, spec, Ids(built, spec))
        assert Counter(rows_of(built, "test")) == expected["test"]
        assert Counter(rows_of(built, "train")) == older + expected["train"]
        verify(built.manifest, str(built.path))
        older += expected["train"] + expected["test"]
    account = chain[-1].manifest.accounting
    assert account.written == account.read == sum(table.num_rows for table in days)
    tokens = [[token for token, _ in vocabulary_tokens(built, "item_id")] for built in chain]
    assert tokens[2][: len(tokens[1])] == tokens[1]
    assert len(tokens[2]) > len(tokens[1]) > len(tokens[0])


def test_by_entity_a_users_runs_stay_in_one_split(tmp_path: Path) -> None:
    chain = chain_of([day(0), day(1)], tmp_path, split=BY_USER)
    held = [{name: Counter(rows_of(built, name)) for name in ("train", "test")} for built in chain]
    users = {name: {row[0] for row in rows if row[0] > 3} for name, rows in held[1].items()}
    assert not users["train"] & users["test"]
    for name in ("train", "test"):
        assert held[0][name] <= held[1][name]
        assert held[0][name] != held[1][name]


def test_what_was_measured_for_a_transform_stays(tmp_path: Path) -> None:
    columns = document("", BY_TIME, SEQUENCES)["columns"]
    rating = {**columns["rating"], "transform": {"kind": "normalise"}}
    days = [day(0), day(1)]
    days[1] = days[1].set_column(2, "rating", pa.array(np.full(days[1].num_rows, 3.5, np.float32)))
    chain = chain_of(days, tmp_path, columns={**columns, "rating": rating})
    first, second = (built.manifest.features[2].transform for built in chain)
    assert first == second is not None
    (value,) = {rating for row in rows_of(chain[1], "test") for rating in row[2]}
    assert value == pytest.approx((3.5 - first.center) / first.scale, rel=1e-6)


def test_files_and_partitions_do_not_change_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [day(0), day(1)]
    expected = contents(chain_of(days, tmp_path / "one")[-1])
    monkeypatch.setattr(partitions, "EVENTS_PER_PARTITION", 60)
    assert contents(chain_of(days, tmp_path / "other", files=3)[-1]) == expected
