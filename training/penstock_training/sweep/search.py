"""Search: check every trial, run those that are not done one after the other, print what came out."""

import posixpath
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock_shared.errors import UserMistake
from penstock_training.data.dataset import Dataset, check_files, open_dataset
from penstock_training.data.inputs import match
from penstock_training.fitting.step import NotFinite
from penstock_training.fitting.workdir import Workdir, to_json
from penstock_training.recipe import dump_recipe
from penstock_training.storage import is_remote, make_folder, write_text
from penstock_training.sweep.lock import locked
from penstock_training.sweep.process import last_words, run_in_process
from penstock_training.sweep.record import SETTLED, Record, Status, read_record
from penstock_training.sweep.schema import Judge
from penstock_training.sweep.table import Row, print_table, ranked, sweep_document
from penstock_training.sweep.trials import Trial, load_sweep

SWEEP_NAME = "sweep.json"
TEST_SPLIT = "test"
ENDINGS: dict[int, Status] = {0: "finished", NotFinite.exit_code: "diverged"}


def search(sweep_path: str, manifest_path: str, folder: str) -> None:
    """Train and evaluate every trial of a sweep that `folder` does not hold yet, and print a table of all.

    Run again, finished trials are kept and an interrupted one goes on from its last checkpoint; a trial is known by
    its recipe and dataset, so that a sweep file may change. Raises UserMistake where a trial does not fit the dataset.
    """
    # 1. Check all trials, before anything expensive.
    sweep, trials = load_sweep(sweep_path)
    dataset = open_dataset(manifest_path)
    _check_split(sweep_path, sweep.judge, dataset)
    for trial in trials:
        match(trial.recipe, f"{sweep_path}: trial {trial.number} ({trial.shown})", dataset)
    check_files(dataset, {trials[0].recipe.training.split, sweep.judge.split})
    for part in ("trials", "recipes", "results", "logs"):
        make_folder(posixpath.join(folder, part))

    # 2. Run those that are not done.
    started, done = time.monotonic(), 0
    with locked(folder) as lock:
        for place, trial in enumerate(trials):
            row = _row(folder, trial, dataset)
            if row.record.status not in SETTLED:
                left = f", {(time.monotonic() - started) / done * (len(trials) - place):,.0f} s left" if done else ""
                _say(f"trial {place + 1} of {len(trials)}{left}: {trial.shown}")
                _run(folder, trial, dataset, row.record, lock)
                done += 1
                row = _row(folder, trial, dataset)
                _say(f"  {_outcome(row, sweep.judge)}")

        # 3. Report.
        rows = ranked([_row(folder, trial, dataset) for trial in trials], sweep.judge)
        write_text(posixpath.join(folder, SWEEP_NAME), to_json(sweep_document(rows, sweep.judge)))
    print_table(rows, sweep.judge)
    if rows[0].metrics is not None and TEST_SPLIT in dataset.manifest.splits and sweep.judge.split != TEST_SPLIT:
        print(f"For a number to report, evaluate the best once: penstock-train evaluate {rows[0].folder} --split test")


def _check_split(sweep_path: str, judge: Judge, dataset: Dataset) -> None:
    splits = dataset.manifest.splits
    if judge.split not in splits:
        raise UserMistake(
            f"{sweep_path}: judge.split is {judge.split!r}, but {dataset.manifest_path} has {', '.join(splits)}; build "
            "it with validation_fraction or validation_n under split, or name another split to judge by"
        )
    if judge.split == TEST_SPLIT:
        _say(f"{sweep_path}: judge.split is test: the best trial's metric will be too good to report")


def _run(folder: str, trial: Trial, dataset: Dataset, before: Record, lock: int | None) -> None:
    name = trial.name(dataset.manifest.digest)
    recipe, result = (posixpath.join(folder, part) for part in (f"recipes/{name}.yaml", f"results/{name}.json"))
    write_text(recipe, dump_recipe(trial.recipe))
    Record("started", before.attempts + 1).save(result)
    started = time.monotonic()
    arguments = ["fit", recipe, "--dataset", dataset.manifest_path, "--workdir", _run_folder(folder, name)]
    with _log(folder, name) as log:
        code = run_in_process(arguments, log, lock)
        said = last_words(code, log) if code else ""
    seconds = round(time.monotonic() - started, 3)
    status: Status = ENDINGS.get(code, "failed")
    Record(status, before.attempts + 1, seconds, said).save(result)


@contextmanager
def _log(folder: str, name: str) -> Iterator[Path]:
    """Yield the file for what a trial says; for a bucket it is copied there in the end."""
    if not is_remote(folder):
        yield Path(folder) / "logs" / f"{name}.log"
        return
    with tempfile.TemporaryDirectory(prefix="penstock-sweep-") as scratch:
        log = Path(scratch) / f"{name}.log"
        yield log
        write_text(posixpath.join(folder, "logs", log.name), log.read_text(errors="replace"))


def _row(folder: str, trial: Trial, dataset: Dataset) -> Row:
    name = trial.name(dataset.manifest.digest)
    run, record = _run_folder(folder, name), read_record(posixpath.join(folder, "results", f"{name}.json"))
    return Row(trial, run, record, Workdir(run).metrics() if record.status == "finished" else None)


def _run_folder(folder: str, name: str) -> str:
    return posixpath.join(folder, "trials", name)


def _outcome(row: Row, judge: Judge) -> str:
    if row.metrics is None:
        return f"{row.record.status}: {row.record.reason}"
    return f"{judge.metric} {{:.4f}} ±{{:.4f}}, {row.record.seconds:.0f} s".format(*row.metric(judge.metric))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
