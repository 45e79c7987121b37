"""Search: check every trial, run those that are not done one after the other, print what came out."""

import posixpath
import sys
import time

from penstock_shared.errors import UserMistake
from penstock_training.data.cache import Cache
from penstock_training.data.dataset import Dataset, check_files, open_dataset
from penstock_training.data.inputs import match
from penstock_training.evaluation.metrics import shown
from penstock_training.fitting.preemption import Preempted, Preemption
from penstock_training.fitting.workdir import Workdir, to_json
from penstock_training.lock import locked
from penstock_training.storage import make_folder, write_text
from penstock_training.strategies import check_share
from penstock_training.sweep.attempt import FOLDERS, Attempts
from penstock_training.sweep.record import SETTLED
from penstock_training.sweep.schema import Judge
from penstock_training.sweep.table import Row, print_table, ranked, sweep_document
from penstock_training.sweep.trials import Trial, load_sweep
from penstock_training.tpu.optimizers import check_tpu_optimizer

SWEEP_NAME = "sweep.json"
TEST_SPLIT = "test"


def search(
    sweep_path: str,
    manifest_path: str,
    folder: str,
    cache: Cache | None = None,
    strategy: str = "one",
    replicas: int | None = None,
) -> None:
    """Train and evaluate every trial of a sweep that `folder` does not hold yet, and print a table of all.

    Run again, finished trials are kept and an interrupted one goes on from its last checkpoint; a trial is known by
    its recipe and dataset, so that a sweep file may change. Cache and strategy are those of each trial's fit. Raises
    UserMistake where a trial does not fit the dataset, and Preempted after SIGTERM, when the trial has saved.
    """
    # 1. Check all trials, before anything expensive.
    sweep, trials = load_sweep(sweep_path)
    dataset = open_dataset(manifest_path)
    _check_split(sweep_path, sweep.judge, dataset)
    for trial in trials:
        where = f"{sweep_path}: trial {trial.number} ({trial.shown})"
        match(trial.recipe, where, dataset)
        if strategy == "tpu":
            check_tpu_optimizer(trial.recipe, where)
        check_share(trial.recipe.training.batch_rows, replicas or 1)
    check_files(dataset, {trials[0].recipe.training.split, sweep.judge.split})
    for part in FOLDERS:
        make_folder(posixpath.join(folder, part))

    # 2. Run those that are not done.
    attempts, preemption = Attempts(folder, dataset, _fit_flags(cache, strategy, replicas)), Preemption()
    started, done = time.monotonic(), 0
    with locked(folder, "sweep") as lock, preemption.watched():
        for place, trial in enumerate(trials, start=1):
            if attempts.record(trial).status in SETTLED:
                continue
            left = f", {(time.monotonic() - started) / done * (len(trials) - place + 1):,.0f} s left" if done else ""
            _say(f"trial {place} of {len(trials)}{left}: {trial.shown}")
            code = attempts.make(trial, lock, preemption)
            row = _row(attempts, trial)
            if preemption.asked:
                raise Preempted(f"{folder}: told to stop by SIGTERM: trial {place} of {len(trials)} {_left(code)}")
            if code == UserMistake.exit_code and not done:
                # Such as devices that are not there: it would be the same with all others.
                raise UserMistake(row.record.reason)
            done += 1
            _say(f"  {_outcome(row, sweep.judge)}")

        # 3. Report.
        rows = ranked([_row(attempts, trial) for trial in trials], sweep.judge)
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


def _fit_flags(cache: Cache | None, strategy: str, replicas: int | None) -> list[str]:
    kept = {} if cache is None else {"--cache": cache.folder, "--cache-size": cache.most_bytes}
    given = {**kept, "--strategy": strategy, "--replicas": replicas}
    return [part for flag, value in given.items() if value is not None for part in (flag, str(value))]


def _row(attempts: Attempts, trial: Trial) -> Row:
    run, record = attempts.run_folder(trial), attempts.record(trial)
    return Row(trial, run, record, Workdir(run).metrics() if record.status == "finished" else None)


def _outcome(row: Row, judge: Judge) -> str:
    if row.metrics is None:
        return f"{row.record.status}: {row.record.reason}"
    return f"{judge.metric} {shown(*row.metric(judge.metric))}, {row.record.seconds:.0f} s"


def _left(code: int) -> str:
    did = {0: "finished", Preempted.exit_code: "saved the step it had reached"}.get(code, "had nothing new to save")
    return f"{did}; run the same command again to go on from there"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
