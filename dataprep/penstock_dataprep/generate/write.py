"""Write a synthetic log as Parquet files, several at a time."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock_dataprep.generate.events import make_events
from penstock_dataprep.generate.population import Population, populate
from penstock_shared.errors import UserMistake

SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.int64()), ("rating", pa.float32()), ("timestamp", pa.int64())]
)
ROWS_PER_FILE = 2**19
ROWS_PER_GROUP = 2**17  # a row group is made whole in memory: about 60 MiB per thread
MOST_FILES = 99_999
MOST_ENTITIES = 2**40


def default_files(rows: int) -> int:
    """Return the number of files a log of `rows` rows is written to, unless told otherwise."""
    return min(MOST_FILES, max(1, -(-rows // ROWS_PER_FILE)))


def generate(
    folder: str,
    rows: int,
    users: int,
    items: int,
    seed: int,
    files: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Write a log of `rows` rows to `folder` as Parquet, and return the files' paths in order of time.

    `users` and `items` are how many there are to choose from; in a short log not all of them occur. Equal arguments
    give equal bytes; the rows do not depend on `files`, only where they are cut. `progress` is called with the number
    of rows just written, by one thread at a time. Raises UserMistake for numbers that make no log, or for a folder
    that already holds Parquet files.
    """
    files = default_files(rows) if files is None else files
    _check(folder, rows, users, items, seed, files)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    population = populate(users, items, seed)
    bounds = [rows * number // files for number in range(files + 1)]
    paths = [target / f"part-{number:05d}-of-{files:05d}.parquet" for number in range(files)]
    lock, stopping = Lock(), Event()

    def report(written: int) -> None:
        if stopping.is_set():
            raise InterruptedError("another file could not be written")
        if progress is not None:
            with lock:
                progress(written)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        writing = [
            pool.submit(_write_file, path, population, bounds[number], bounds[number + 1], rows, report)
            for number, path in enumerate(paths)
        ]
        try:
            for future in writing:
                future.result()
        except BaseException:
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [str(path) for path in paths]


def _check(folder: str, rows: int, users: int, items: int, seed: int, files: int) -> None:
    limits = {
        "rows": (rows, 1, 2**53),
        "users": (users, 1, MOST_ENTITIES),
        "items": (items, 1, MOST_ENTITIES),
        "files": (files, 1, min(rows, MOST_FILES)),
    }
    for name, (found, least, most) in limits.items():
        if not least <= found <= most:
            raise UserMistake(f"generate: {name}: found {found}, expected {least} to {most}")
    if "://" in folder:
        raise UserMistake(f"generate: {folder}: expected a local folder; generate there, then copy")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise UserMistake(f"generate: {folder} is a file, expected a folder; name another")
    present = sorted(path.name for path in Path(folder).glob("*.parquet"))
    if present:
        raise UserMistake(f"generate: {folder} already holds {present[0]}; name another folder, or delete its files")


def _write_file(
    path: Path, population: Population, start: int, stop: int, rows: int, report: Callable[[int], None]
) -> None:
    unfinished = path.with_suffix(".unfinished")
    try:
        with pq.ParquetWriter(unfinished, SCHEMA, use_dictionary=["item_id", "rating"]) as writer:
            for first in range(start, stop, ROWS_PER_GROUP):
                group = make_table(population, first, min(first + ROWS_PER_GROUP, stop), rows)
                writer.write_table(group, row_group_size=ROWS_PER_GROUP)
                report(len(group))
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


def make_table(population: Population, start: int, stop: int, rows: int) -> pa.Table:
    """Return rows `start` to `stop` of a log of `rows` rows as they are written."""
    events = make_events(population, start, stop, rows)
    user_ids = pc.cast(pa.array(population.users.ids(events.user)), pa.string())
    return pa.table(
        [
            pc.binary_join_element_wise(pa.scalar("u"), user_ids, pa.scalar("")),
            pa.array(population.items.ids(events.item)),
            pa.array(events.rating, mask=np.logical_not(events.rated)),
            pa.array(events.timestamp),
        ],
        schema=SCHEMA,
    )
