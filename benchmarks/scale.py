"""Measure whether preparation keeps its rate and its memory when the log grows.

The log of each size has a user per ten rows and an item per hundred; sizes are built in turn, whole processes.

    .venv/bin/python benchmarks/scale.py [--rows 10_000_000 100_000_000] [--runs 3] [--folder FOLDER]
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from measured import OURS, SPEC, Run, run

RATE_TARGET, MEMORY_TARGET_GIB = 0.85, 8


def main() -> None:
    """Make the logs, build each in turn, print rates and memory beside those of the smallest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000_000, 100_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="penstock-scale-", dir=arguments.folder))
    try:
        measure(folder, sorted(arguments.rows), arguments.runs)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, sizes: list[int], runs: int) -> None:
    """Build every size `runs` times in `folder` and print the comparison."""
    built: dict[int, list[Run]] = {rows: [] for rows in sizes}
    for rows in sizes:
        log = folder / f"log-{rows}"
        size = ["--rows", str(rows), "--users", str(rows // 10), "--items", str(rows // 100), "--seed", "7"]
        run([*OURS, "generate", str(log), *size])
        (folder / f"{rows}.spec.yaml").write_text(SPEC.format(log=log))
    for number in range(runs):
        for rows in sizes:
            built[rows].append(run([*OURS, "build", str(folder / f"{rows}.spec.yaml"), "--out", str(folder / "out")]))
            shutil.rmtree(folder / "out")
            print(f"run {number + 1}: {rows:,} rows in {built[rows][-1].seconds:.1f} s", flush=True)
    smallest = sizes[0] / statistics.median(run.seconds for run in built[sizes[0]])
    for rows in sizes:
        rate = rows / statistics.median(run.seconds for run in built[rows])
        memory_gib = max(run.memory_bytes for run in built[rows]) / 2**30
        print(
            f"{rows:>13,} rows: {rate:>9,.0f} rows/s, {rate / smallest:.2f} of the smallest; peak {memory_gib:.2f} GiB"
        )
    print(f"(targets: at least {RATE_TARGET} of the smallest's rows/s, and at most {MEMORY_TARGET_GIB} GiB)")


if __name__ == "__main__":
    main()
