"""Sweep with real trials in processes of their own: killed, resumed, diverged; and compare runs."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS, wait_until

from penstock_training import lock
from penstock_training.cli import main

RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 8}
loss: {kind: in_batch_softmax}
training: {epochs: 1, batch_rows: 128, window_blocks: 3, checkpoint_every_steps: 18}
evaluation: {k: [5], every_epochs: 0}
"""
SWEEP = """
recipe: recipe.yaml
judge: {metric: ndcg@5, split: test}
grid:
  optimizer.embeddings: [{kind: adagrad}, {kind: sgd, learning_rate: 1.0e+30}]
  training.epochs: [30]
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "sweep.yaml").write_text(SWEEP)
    return folder


def start(arguments: list[str], said: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "penstock_training.cli", *arguments]
    return subprocess.Popen(line, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=said)


def newest_step(out: Path) -> int:
    """Return the step of the newest checkpoint of all trials, 0 where there is none."""
    sealed = out.glob("trials/*/checkpoints/*/complete")
    return max((int(found.parent.name.removeprefix("step-")) for found in sealed), default=0)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_shows_what_diverged(
    events: Path, files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The trial of the killed sweep ends by itself, which takes as long as the machine is busy.
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    out = files / "out"
    arguments = ["sweep", str(files / "sweep.yaml"), "--dataset", str(events), "--out", str(out)]
    sweep = start(arguments)
    try:
        # What is left of the trial then takes far longer than to see this.
        wait_until(lambda: newest_step(out), sweep)
    finally:
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
    assert not list(out.glob("trials/*/metrics.json"))
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "judge.split is test: the best trial's metric will be too good to report" in printed.err
    assert "trial 1 of 2: optimizer.embeddings=" in printed.err
    document = json.loads((out / "sweep.json").read_text())
    best, diverged = document["trials"]
    assert (best["trial"], best["status"], best["attempts"]) == (1, "finished", 2)
    assert (diverged["trial"], diverged["status"], diverged["attempts"]) == (2, "diverged", 1)
    assert diverged["reason"].startswith("step ")
    assert "the loss is not a finite number" in diverged["reason"]
    assert best["values"] == {"optimizer.embeddings": {"kind": "adagrad"}, "training.epochs": 30}
    log = (out / "logs" / f"{Path(best['run']).name}.log").read_text()
    assert "continuing after step" in log
    measured = json.loads((Path(best["run"]) / "metrics.json").read_text())
    assert best["results"] == measured["results"]
    assert document["protocol"] == measured["protocol"]
    lines = printed.out.splitlines()
    assert lines[0] == "ndcg@5 on split test".ljust(len(lines[0]))
    value, error = (measured["results"][0]["metrics"]["ndcg@5"][name] for name in ("value", "error"))
    assert f"{value:.4f} ±{error:.4f}" in next(line for line in lines if best["run"] in line)
    assert "diverged" in next(line for line in lines if diverged["run"] in line)
    assert "to beat: popularity 0." in printed.out

    # Run again, all are done: a sweep that says so by a second trial's attempts has run none.
    assert main(arguments) == 0
    again = capsys.readouterr()
    assert "trial 1 of 2" not in again.err
    assert again.out == printed.out
    assert json.loads((out / "sweep.json").read_text()) == document


@pytest.mark.slow
def test_sigterm_to_a_sweep_lets_its_trial_save_and_the_next_goes_on_from_there(
    events: Path, files: Path, tmp_path: Path
) -> None:
    # More epochs than anybody waits for: only SIGTERM ends the trial.
    endless = SWEEP.replace("recipe: ", f"recipe: {files}/").replace("[30]", "[1000000]")
    (tmp_path / "sweep.yaml").write_text(endless)
    out, cache = tmp_path / "out", tmp_path / "cache"
    arguments = ["sweep", str(tmp_path / "sweep.yaml"), "--dataset", str(events), "--out", str(out)]
    arguments += ["--cache", str(cache)]
    saved = [0]
    for _ in range(2):
        sweep = start(arguments, subprocess.PIPE)
        # A checkpoint beyond the last process's is one of the steps that this one took.
        wait_until(lambda: newest_step(out) > saved[-1], sweep)
        sweep.terminate()
        said = sweep.communicate()[1].decode()
        assert sweep.returncode == 143, said
        assert said.splitlines()[-1] == (
            f"penstock-train: {out}: told to stop by SIGTERM: trial 1 of 2 saved the step it had reached; "
            "run the same command again to go on from there"
        )
        (log,) = (out / "logs").iterdir()
        found = re.findall(r"told to stop by SIGTERM: saved step (\d+) of 18000000", log.read_text())
        saved.append(int(found[-1]))
        assert newest_step(out) == saved[-1]
    assert f"continuing after step {saved[1]} of 18000000" in log.read_text()
    (result,) = (out / "results").iterdir()
    assert json.loads(result.read_text())["status"] == "started"
    assert list(cache.glob("*.tfrecord"))


@pytest.mark.slow
def test_devices_that_are_not_there_end_a_sweep_at_its_first_trial(
    events: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sweep", str(files / "sweep.yaml"), "--dataset", str(events), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--strategy", "mirrored", "--replicas", "3"]) == 2
    assert "training.batch_rows is 128, which the number of replicas, 3, does not divide" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*arguments, "--strategy", "mirrored"]) == 2
    said = capsys.readouterr().err
    assert "trial 1 of 2" in said
    assert "trial 2 of 2" not in said
    assert "penstock-train: --strategy mirrored: found 0 GPUs, expected at least 2; leave --strategy out" in said


def test_runs_are_compared_side_by_side_or_refused(
    events: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fit(name: str, *settings: str) -> str:
        flags = [part for setting in settings for part in ("--set", setting)]
        run = str(tmp_path / name)
        assert main(["fit", str(files / "recipe.yaml"), "--dataset", str(events), "--workdir", run, *flags]) == 0
        return run

    one, two = fit("one"), fit("two", "model.kind=matrix_factorisation", "training.epochs=2")
    capsys.readouterr()
    assert main(["compare", one, two]) == 0
    printed = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    shown = {row[0]: row[1:] for row in cells}
    metrics = [
        json.loads(Path(run, "metrics.json").read_text())["results"][0]["metrics"]["ndcg@5"] for run in (one, two)
    ]
    expected = [f"{metric['value']:.4f} ±{metric['error']:.4f}" for metric in metrics]
    assert shown["ndcg@5"][:2] == expected
    assert len(shown["ndcg@5"]) == 3
    assert shown["training.epochs"] == ["1", "2"]
    assert shown["model.kind"] == ["two_tower", "matrix_factorisation"]
    assert shown["model.bias_l2"] == ["-", "0.0"]
    assert "training.seed" not in shown
    assert main(["compare", one, two, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [run["recipe"]["training.epochs"] for run in document["runs"]] == [1, 2]

    assert main(["compare", one, two, "--split", "validation"]) == 2
    assert "metrics-validation.json: no such file; run penstock-train fit to its end, or penstock-train evaluate" in (
        capsys.readouterr().err
    )
    other = json.loads(Path(two, "metrics.json").read_text())
    other["protocol"] |= {"stamp": "other", "split": "validation"}
    Path(two, "metrics.json").write_text(json.dumps(other))
    assert main(["compare", one, two]) == 2
    refused = capsys.readouterr().err
    assert "were evaluated by different protocols and cannot be compared:\n  split: 'test' and 'validation'" in refused

    # Judged on what it was trained on, a run that hides what users had has nothing to find.
    assert main(["evaluate", one, "--split", "train"]) == 2
    assert "split train has no user with an item to find (left out: 0 rows of users outside" in capsys.readouterr().err
    assert main(["evaluate", one, "--split", "tset"]) == 2
    assert "evaluation.split is 'tset', but the dataset has train, test" in capsys.readouterr().err
    assert main(["evaluate", one, "--split", "test"]) == 0
    assert not Path(one, "metrics-test.json").exists()
