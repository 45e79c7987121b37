"""Measure preparation against what people prepare logs with today: PySpark, TensorFlow Transform, row-wise Beam.

Each peer does the same job on the same log in turn with ours, whole processes, start-up included, and must write as
many rows. TensorFlow Transform and row-wise Beam hold all rows in memory several times over, so that they get a small
log; `--ours-rows` then says on how large a log our rate is taken, since a small one is mostly start-up on both sides.

    make peers
    .venv/bin/python benchmarks/peers.py spark [--rows 50_000_000]
    .venv/bin/python benchmarks/peers.py tft --rows 1_000_000 --ours-rows 50_000_000
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import pyarrow.dataset as ds
from measured import OURS, SPEC, run

from penstock_dataprep.records.tfrecord import unframe

HERE = Path(__file__).parent
PEERS_PYTHON = str(HERE.parent / ".peers" / "bin" / "python")
PEERS = {
    "spark": [PEERS_PYTHON, str(HERE / "spark_prepare.py")],
    "tft": [PEERS_PYTHON, str(HERE / "tft_prepare.py")],
    "beam": [sys.executable, str(HERE / "beam_prepare.py")],
}
TARGETS = {"spark": 8, "tft": 150, "beam": 150}


def main() -> None:
    """Make the logs, run both sides in turn, print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the log that both sides prepare")
    parser.add_argument("--ours-rows", type=int, help="rows of a larger log that ours is measured on besides")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="penstock-peers-", dir=arguments.folder))
    try:
        measure(folder, arguments.peer, arguments.rows, arguments.ours_rows or arguments.rows, arguments.runs)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, peer: str, rows: int, ours_rows: int, runs: int) -> None:
    """Run both sides `runs` times in `folder` and print the comparison."""
    specs = {size: make_log(folder / f"log-{size}", size) for size in {rows, ours_rows}}
    out, theirs, ours, larger = folder / "out", [], [], []
    test_from, written = prepare(specs[rows], out)[1:]
    for number in range(runs):
        out.mkdir()
        peer_run = run([*PEERS[peer], str(folder / f"log-{rows}"), str(out), "--test-from", str(test_from)])
        if count_rows(out) != written:
            raise SystemExit(f"not the same job: {peer} wrote {count_rows(out):,} rows, ours {written:,}")
        shutil.rmtree(out)
        theirs.append(rows / peer_run.seconds)
        ours.append(rows / prepare(specs[rows], out)[0])
        larger.append(ours[-1] if ours_rows == rows else ours_rows / prepare(specs[ours_rows], out)[0])
        print(
            f"run {number + 1}: {peer} {theirs[-1]:,.0f} rows/s, ours {ours[-1]:,.0f} and {larger[-1]:,.0f}", flush=True
        )
    peer_rate, our_rate, larger_rate = (statistics.median(rates) for rates in (theirs, ours, larger))
    print(f"{peer:8s} {peer_rate:>12,.0f} rows/s at {rows:,} rows")
    print(f"ours     {our_rate:>12,.0f} rows/s at {rows:,} rows: {our_rate / peer_rate:.1f} times")
    if ours_rows != rows:
        print(f"ours     {larger_rate:>12,.0f} rows/s at {ours_rows:,} rows: {larger_rate / peer_rate:.1f} times")
    print(f"(target: at least {TARGETS[peer]} times)")


def make_log(log: Path, rows: int) -> Path:
    """Write a log of `rows` rows, with a user per ten rows and an item per hundred, and return its spec."""
    size = ["--rows", str(rows), "--users", str(rows // 10), "--items", str(rows // 100), "--seed", "7"]
    run([*OURS, "generate", str(log), *size])
    spec = log.with_suffix(".spec.yaml")
    spec.write_text(SPEC.format(log=log))
    return spec


def prepare(spec: Path, out: Path) -> tuple[float, int, int]:
    """Build the dataset and delete it; return (seconds, the time from which rows are test rows, rows written)."""
    built = run([*OURS, "build", str(spec), "--out", str(out)])
    splits = json.loads(Path(built.output.splitlines()[-1]).read_text())["splits"]
    shutil.rmtree(out)
    test_from = int(splits["test"]["rule"].rpartition(">= ")[2])
    return built.seconds, test_from, sum(split["rows"] for split in splits.values())


def count_rows(out: Path) -> int:
    """Return the rows a peer wrote, as TFRecord or as Parquet."""
    records = sum(1 for path in out.glob("*.tfrecord") for _ in unframe(path.read_bytes(), str(path)))
    return records or sum(ds.dataset(out / name, format="parquet").count_rows() for name in ("train", "test"))


if __name__ == "__main__":
    main()
