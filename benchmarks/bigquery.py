"""Measure preparation from BigQuery, emulator to published dataset, against Beam's own reader and the same work.

All sides read the same table of one emulator, whole processes, start-up included, in turn; medians are compared. The
others read with ReadFromBigQuery(DIRECT_READ), which makes a Python dict of each row:

- `beam_bigquery_rows.py` does the same job as pipelines that begin so do it, row by row, to tf.train.Examples;
- `beam_bigquery.py` turns the dicts to Arrow batches and takes all further steps of ours, to the same bytes, so that
  the readers alone differ. Of its two formats the faster counts.

Both need environments of their own, since they need other versions or packages that come as source only:

    make peers dataflow
    .venv/bin/python benchmarks/bigquery.py [--rows 1_000_000] [--runs 3] [--folder FOLDER]
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "bigquery")]

RATIO_TARGET = 20
SIDES = ("rows", "AVRO", "ARROW")
OURS = [sys.executable, "-m", "penstock_dataprep.cli"]
PATHS = os.pathsep.join(str(REPOSITORY / member) for member in ("shared", "dataprep"))
SPEC = """
name: bench
source: {{bigquery: {{table: {table}}}}}
columns:
  user_id: {{role: user, vocabulary: {{min_count: 2}}}}
  item_id: {{role: item, vocabulary: {{min_count: 2}}}}
  rating: {{role: label, dtype: float32, range: [0.5, 5], null: reject}}
  timestamp: {{role: time, dtype: int64}}
split: {{by: time, test_fraction: 0.1}}
shuffle: {{seed: 17}}
max_reject_fraction: 0.01
"""


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Return (seconds, seconds of processors, the last line) of a command; a failure ends the benchmark."""
    started, before = time.perf_counter(), processor_seconds()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    printed = done.stdout.splitlines()[-1] if done.stdout else ""
    return time.perf_counter() - started, processor_seconds() - before, printed


def processor_seconds() -> float:
    """Return what all ended children have used of the processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Fill a table, run both sides in turn, print what they took and whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="what to compare ours with")
    parser.add_argument("--beam", type=Path, default=REPOSITORY / ".dataflow", help="that of requirements/dataflow.txt")
    parser.add_argument("--peers", type=Path, default=REPOSITORY / ".peers", help="that of make peers")
    parser.add_argument("--emulators", type=Path, default=REPOSITORY / ".emulators", help="that of make emulators")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=arguments.folder))
    from emulator import Emulator

    emulator = Emulator(arguments.emulators.resolve(), folder)
    try:
        log = folder / "log"
        size = ["--rows", arguments.rows, "--users", arguments.users, "--items", arguments.items, "--seed", 7]
        run([*OURS, "generate", str(log), *map(str, size)], {})
        table = emulator.load("log", pa.concat_tables(map(pq.read_table, sorted(log.glob("*.parquet")))))
        compare(emulator, table, folder, arguments)
    finally:
        emulator.stop()
        shutil.rmtree(folder)


def compare(emulator: "Emulator", table: str, folder: Path, arguments: argparse.Namespace) -> None:  # noqa: F821
    """Run all sides in turn and print their medians."""
    spec, out = folder / "spec.yaml", folder / "out"
    spec.write_text(SPEC.format(table=table))
    addresses = {"BIGQUERY_EMULATOR_HOST": emulator.rest, "BIGQUERY_STORAGE_EMULATOR_HOST": emulator.storage}
    addresses |= {"GOOGLE_CLOUD_PROJECT": table.split(".")[0], "PYTHONPATH": PATHS}
    rows, same_steps = script(arguments.peers, "beam_bigquery_rows.py"), script(arguments.beam, "beam_bigquery.py")
    first = run([*OURS, "build", str(spec), "--out", str(out)], addresses)[2]
    test_from = json.loads(Path(first).read_text())["splits"]["test"]["rule"].rpartition(">= ")[2]
    shutil.rmtree(out)
    commands = {
        "ours": ([*OURS, "build", str(spec), "--out", str(out)], {}),
        "Beam, rows": ([*rows, table, str(out), test_from], {}),
        "Beam, AVRO": ([*same_steps, str(spec), str(out)], {"BEAM_FORMAT": "AVRO"}),
        "Beam, ARROW": ([*same_steps, str(spec), str(out)], {"BEAM_FORMAT": "ARROW"}),
    }
    commands = {name: held for name, held in commands.items() if name == "ours" or name.split()[-1] in arguments.sides}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    digests = set()
    for number in range(arguments.runs):
        for name, (command, extra) in commands.items():
            took, used, printed = run(command, addresses | extra)
            seconds[name].append(took)
            if name != "Beam, rows":
                digests.add(json.loads(Path(printed).read_text())["digest"])
            shutil.rmtree(out)
            print(f"run {number + 1}: {name} {took:.1f} s, {used:.1f} s of processors", flush=True)
    if len(digests) > 1:
        raise SystemExit(f"not the same job: the datasets have digests {digests}")
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    for name, median in medians.items():
        ratio = median / medians["ours"]
        print(f"{name:<12} {median:7.2f} s  {arguments.rows / median:10,.0f} rows/s  {ratio:5.1f} times ours")
    print(f"(target: at least {RATIO_TARGET} times)")


def script(environment: Path, name: str) -> list[str]:
    """Return the command of a script of this folder in an environment."""
    return [str(environment / "bin" / "python"), "-W", "ignore", str(REPOSITORY / "benchmarks" / name)]


if __name__ == "__main__":
    main()
