"""Prepare a log the way a good engineer would by hand, for one shape of log and all in memory: DuckDB and numpy.

The job is that of benchmarks/prepare.py's spec: drop null ratings, rank users and items by count (at least 2), map, cut
the last tenth of the time off as the test split, permute all rows, write 16 + 2 shards of 8192-row blocks. What it
leaves out is what makes it a ceiling, not an alternative: no validation, no rejects, no accounting, no manifest, no
statistics, no resuming, no more rows than fit in memory, and one fixed schema.

    python benchmarks/duckdb_prepare.py LOG OUT
"""

import argparse
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import google_crc32c
import numpy as np

ROWS_PER_BLOCK = 8192
TRAIN_SHARDS, TEST_SHARDS = 16, 2
FIRST_TOKEN_ID, OOV_ID = 3, 2
MIN_COUNT = 2
TEST_FRACTION = 0.1
ROW = np.dtype([("user_id", "<u4"), ("item_id", "<u4"), ("rating", "<f4"), ("timestamp", "<u4")])


def map_log(log: Path, out: Path) -> dict[str, np.ndarray]:
    """Return the rated rows' columns with dense ids, and write both vocabularies."""
    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(
        "CREATE TEMP TABLE rated AS SELECT user_id, item_id, rating, timestamp "
        f"FROM read_parquet('{log}/*.parquet') WHERE rating IS NOT NULL"
    )
    for column in ("user_id", "item_id"):
        connection.execute(
            f"CREATE TEMP TABLE {column}_vocabulary AS "
            f"SELECT {column}, "
            f"(row_number() OVER (ORDER BY count(*) DESC, {column}) + {FIRST_TOKEN_ID - 1})::UINTEGER AS id "
            f"FROM rated GROUP BY {column} HAVING count(*) >= {MIN_COUNT}"
        )
        connection.execute(f"COPY (FROM {column}_vocabulary ORDER BY id) TO '{out}/{column}.parquet'")
    columns = connection.execute(
        f"SELECT coalesce(u.id, {OOV_ID})::UINTEGER AS user_id, coalesce(i.id, {OOV_ID})::UINTEGER AS item_id, "
        "rating, timestamp::UINTEGER AS timestamp FROM rated "
        "LEFT JOIN user_id_vocabulary u USING (user_id) LEFT JOIN item_id_vocabulary i USING (item_id)"
    ).fetchnumpy()
    return {name: np.asarray(columns[name]) for name in ROW.names}


def permute(columns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the train and the test rows in random order; a row is packed first, so that it moves in one piece."""
    rows = np.empty(len(columns["timestamp"]), ROW)
    for name, column in columns.items():
        rows[name] = column
    cutoff = np.partition(columns["timestamp"], int(len(rows) * (1 - TEST_FRACTION)))[
        int(len(rows) * (1 - TEST_FRACTION))
    ]
    random = np.random.default_rng(17)
    is_test = columns["timestamp"] >= cutoff
    chosen = [np.flatnonzero(mask).astype(np.uint32) for mask in (~is_test, is_test)]
    for places in chosen:
        random.shuffle(places)
    return rows[chosen[0]], rows[chosen[1]]


def write_shard(rows: np.ndarray, path: Path) -> None:
    """Write one TFRecord file of blocks."""
    with path.open("wb") as file:
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            block = rows[start : start + ROWS_PER_BLOCK]
            payload = struct.pack("<I", len(block)) + b"".join(block[name].tobytes() for name in ROW.names)
            length = struct.pack("<Q", len(payload))
            file.write(b"".join((length, masked_crc(length), payload, masked_crc(payload))))


def masked_crc(data: bytes) -> bytes:
    """Return TFRecord's checksum of some bytes."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def main() -> None:
    """Prepare a log and print how many rows each split got."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    train, test = permute(map_log(arguments.log, arguments.out))
    shards = [
        (part, arguments.out / f"{name}-{number:05d}-of-{count:05d}.tfrecord")
        for name, rows, count in (("train", train, TRAIN_SHARDS), ("test", test, TEST_SHARDS))
        for number, part in enumerate(np.array_split(rows, count))
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write_shard, *zip(*shards, strict=True)))
    print(f"{len(train)} train, {len(test)} test")


if __name__ == "__main__":
    main()
