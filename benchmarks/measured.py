"""Run commands as the benchmarks of preparation do: whole processes, their memory watched."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.1
OURS = [sys.executable, "-m", "penstock_dataprep.cli"]
SPEC = """
name: bench
source: {{files: {log}/*.parquet, format: parquet}}
columns:
  user_id: {{role: user, vocabulary: {{min_count: 2, oov_buckets: 1, of: all}}}}
  item_id: {{role: item, vocabulary: {{min_count: 2, oov_buckets: 1, of: all}}}}
  rating: {{role: label, dtype: float32, range: [0.5, 5], null: reject}}
  timestamp: {{role: time, dtype: int64}}
split: {{by: time, test_fraction: 0.1}}
shuffle: {{seed: 17}}
output: {{layout: blocks, rows_per_block: 8192, shard_bytes: 128MiB}}
max_reject_fraction: 0.01
"""


@dataclass(frozen=True)
class Run:
    """Hold what one run of a command took, and what it printed."""

    seconds: float
    memory_bytes: int
    output: str


def run(command: list[str]) -> Run:
    """Run a command to its end, watching the memory of its processes; a failure ends the benchmark."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_SECONDS):
            peak = max(peak, resident_bytes(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, errors = process.communicate()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}:\n{errors[-4000:]}")
    return Run(seconds, peak, output)


def resident_bytes(pid: int) -> int:
    """Return the resident bytes of a process and its descendants, 0 when they are gone."""
    total = 0
    try:
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
