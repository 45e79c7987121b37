"""Measure preparation, Parquet log to published dataset, against a hand-written DuckDB script doing the bare job.

Whole processes, start-up included; the two alternate, and medians are compared. Memory is the sum of the resident sets
of a run's processes, sampled every 0.1 s: pages they share count more than once, so it is an upper bound.

    python benchmarks/prepare.py [--rows 10_000_000] [--runs 3] [--folder FOLDER]
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from measured import OURS, SPEC, Run, folder_bytes, run
from rich.console import Console
from rich.table import Table

RATIO_TARGET, ROW_BYTES_TARGET, MEMORY_TARGET_GIB = 0.8, 13, 2.5
DUCKDB = [sys.executable, str(Path(__file__).with_name("duckdb_prepare.py"))]


def main() -> None:
    """Make a log, run both sides in turn, print what they took and whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=arguments.folder))
    try:
        measure(folder, arguments.rows, arguments.users, arguments.items, arguments.runs)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, rows: int, users: int, items: int, runs: int) -> None:
    """Run both sides `runs` times in `folder` and print the comparison."""
    log, spec, out = folder / "log", folder / "bench.spec.yaml", folder / "out"
    size = ["--rows", str(rows), "--users", str(users), "--items", str(items), "--seed", "7"]
    made = run([*OURS, "generate", str(log), *size])
    print(f"a log of {rows:,} rows, {folder_bytes(log) / rows:.1f} bytes/row, made in {made.seconds:.1f} s", flush=True)
    spec.write_text(SPEC.format(log=log))
    ours, theirs, row_bytes = [], [], (0.0, 0.0)
    for number in range(runs):
        theirs.append(run([*DUCKDB, str(log), str(out)]))
        shutil.rmtree(out)
        ours.append(run([*OURS, "build", str(spec), "--out", str(out)]))
        manifest = Path(ours[-1].output.splitlines()[-1])
        splits = json.loads(manifest.read_text())["splits"]
        written = sum(split["rows"] for split in splits.values())
        counts = [int(word) for word in theirs[-1].output.replace(",", "").split() if word.isdigit()]
        if sum(counts) != written:
            raise SystemExit(f"not the same job: the DuckDB script wrote {counts}, the dataset has {written} rows")
        shard_bytes = sum(split["bytes"] for split in splits.values())
        row_bytes = (shard_bytes / written, folder_bytes(manifest.parent) / written)
        shutil.rmtree(out)
        print(f"run {number + 1}: DuckDB {theirs[-1].seconds:.1f} s, ours {ours[-1].seconds:.1f} s", flush=True)
    report(rows, ours, theirs, row_bytes)


def report(rows: int, ours: list[Run], theirs: list[Run], row_bytes: tuple[float, float]) -> None:
    """Print the medians, the ratio and the targets."""
    table = Table("", "seconds", "rows/s", "peak memory", title=f"{rows:,} rows, medians of {len(ours)} runs")
    speeds = []
    for name, runs in (("DuckDB by hand", theirs), ("penstock-data build", ours)):
        seconds = statistics.median(run.seconds for run in runs)
        memory = statistics.median(run.memory_bytes for run in runs)
        speeds.append(rows / seconds)
        table.add_row(name, f"{seconds:.2f}", f"{speeds[-1]:,.0f}", f"{memory / 2**30:.2f} GiB")
    Console(width=100).print(table)
    memory_gib = max(run.memory_bytes for run in ours) / 2**30
    print(f"ratio          {speeds[1] / speeds[0]:.2f}      (target: at least {RATIO_TARGET})")
    shards, whole = row_bytes
    print(f"bytes per row  {shards:.1f}      (target: at most {ROW_BYTES_TARGET}; {whole:.1f} with vocabularies)")
    print(f"peak memory    {memory_gib:.2f} GiB  (target: at most {MEMORY_TARGET_GIB} GiB; the highest of all runs)")


if __name__ == "__main__":
    main()
