"""Rehearse from a generated log to a recommendation, with the real trainer, and say which step fails."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from logs import changed, left_behind, plain_log, plain_spec, run, write_parquet, write_spec

from penstock_dataprep.rehearsal import trainer

RECIPE = {
    "task": "retrieval",
    "model": {"kind": "two_tower", "dimension": 4},
    "loss": {"kind": "in_batch_softmax"},
    "training": {"epochs": 1, "batch_rows": 256},
    "evaluation": {"k": [5], "every_epochs": 0},
}


@pytest.fixture
def spec(tmp_path: Path) -> str:
    log = write_parquet(plain_log(4000, seed=1), tmp_path / "log", files=2)
    return write_spec(tmp_path / "spec.yaml", plain_spec(log))


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return str(tmp_path / "recipe.yaml")


@pytest.fixture
def with_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the trainer of this checkout on PATH, where it is not installed beside Python."""
    command = tmp_path / "bin" / trainer.COMMAND
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m penstock_training.cli "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")


@pytest.mark.slow
def test_a_rehearsal_goes_from_a_log_to_a_recommendation(
    spec: str, recipe: str, with_trainer: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    assert run("rehearse", spec, "--recipe", recipe, "--rows", "1000", "--keep", kept) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    steps = [line.split()[0] for line in said.splitlines() if " s  " in line or line.endswith(" s")]
    assert steps == ["recipe", "sample", "build", "verify", "fit", "evaluate", "export", "recommend"]
    assert "1,000 rows of" in said
    assert "recall@5" in said
    assert "score" in said
    assert said.splitlines()[-1].startswith("rehearsed in ")
    assert (kept / "model" / "model.json").exists()
    assert len(list(kept.rglob("manifest.json"))) == 1
    assert run("rehearse", spec, "--recipe", recipe, "--keep", kept) == 2
    assert "is not an empty folder" in capsys.readouterr().err


def test_the_step_that_fails_says_so_in_its_own_words(
    spec: str, recipe: str, with_trainer: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("rehearse", spec, "--recipe", recipe, "--set", "training.epoch=3") == 2
    printed = capsys.readouterr()
    assert "step recipe failed: penstock-train: --set training.epoch=3: training.epoch: unknown key" in printed.err
    assert printed.out == ""
    assert run("rehearse", spec, "--recipe", recipe, "--rows", "500", "--set", "training.batch_rows=1000000") == 2
    printed = capsys.readouterr()
    assert "step fit failed: penstock-train: " in printed.err
    assert "training.batch_rows is 1000000, but split train has" in printed.err
    assert "Traceback" not in printed.err
    assert printed.out.splitlines()[-1].startswith("verify")
    explodes = ("--set", "optimizer.embeddings.learning_rate=1.0e+30")
    assert run("rehearse", spec, "--recipe", recipe, "--rows", "500", *explodes) == 4
    assert re.match("penstock-data: step fit failed: penstock-train: .*lower optimizer", capsys.readouterr().err)
    document = yaml.safe_load(Path(spec).read_text())
    strict = write_spec(tmp_path / "strict.yaml", changed(document, "columns.rating.range", [4, 5]))
    assert run("rehearse", strict, "--recipe", recipe, "--rows", "500") == 3
    assert "step build failed: " in capsys.readouterr().err
    wrong = write_spec(tmp_path / "wrong.yaml", changed(document, "columns.user_id.from", "usr_id"))
    assert run("rehearse", wrong, "--recipe", recipe) == 2
    assert "step sample failed: columns.user_id: no column 'usr_id'" in capsys.readouterr().err


def test_what_is_missing_is_told_before_any_work(
    spec: str, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("rehearse", spec, "--recipe", recipe, "--rows", "0") == 2
    assert "--rows: found 0, expected at least 1" in capsys.readouterr().err
    monkeypatch.setattr(sys, "executable", str(tmp_path / "elsewhere" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("rehearse", spec, "--recipe", recipe, "--keep", tmp_path / "kept") == 2
    assert "penstock-train: not found beside" in (said := capsys.readouterr().err)
    assert "install penstock-training" in said
    command = tmp_path / trainer.COMMAND
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    assert run("rehearse", spec, "--recipe", tmp_path / "absent.yaml", "--keep", tmp_path / "kept") == 2
    assert "absent.yaml: no such file; expected a recipe" in capsys.readouterr().err
    assert left_behind(tmp_path / "kept") == []
