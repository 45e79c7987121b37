"""Hold the command line to its promise: a mistake ends in an exit code and a message, and nothing is published."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from logs import changed, left_behind, plain_spec, refused, run, without_progress, write_spec

from penstock_dataprep.cli import parser

FLAGS = {
    "generate": {"log", "--rows", "--users", "--items", "--seed", "--files", "-h", "--help"},
    "plan": {"spec", "--out", "--append-to", "--scratch", "--assume", "--json", "-h", "--help"},
    "rehearse": {"spec", "--recipe", "--set", "--rows", "--keep", "-h", "--help"},
    "build": {"spec", "--out", "--append-to", "--scratch", "-h", "--help"},
    "verify": {"manifest", "-h", "--help"},
    "show": {"manifest", "--json", "-h", "--help"},
    "list": {"root", "--json", "-h", "--help"},
    "diff": {"before", "after", "--json", "-h", "--help"},
    "gc": {"root", "--keep", "--delete", "-h", "--help"},
}


def test_flags_are_pinned() -> None:
    # Scripts call these: a new flag belongs in the spec, and a lost one breaks somebody's job.
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    found = {
        name: {flag for action in command._actions for flag in action.option_strings or [action.dest]}
        for name, command in commands.choices.items()
    }
    assert found == FLAGS


@pytest.mark.parametrize("command", [[], *([name] for name in FLAGS)])
def test_help_shows_how_to_call(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    assert "usage: penstock-data" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("columns.user_id.from", "usr_id", "columns.user_id: no column 'usr_id' in .*; did you mean 'user_id'?"),
        (
            "columns.item_id.from",
            "rating",
            "columns.item_id: 'rating' has type float in .*, which cannot become string",
        ),
        ("shufle", {"seed": 1}, "shufle: unknown key 'shufle'; did you mean 'shuffle'?"),
        ("output.rows_per_blok", 1, "output.rows_per_blok: unknown key .* did you mean 'rows_per_block'?"),
        ("split.test_fraction", 1.5, "split.test_fraction: found 1.5, expected less than 1"),
        ("source.files", "nowhere.parquet", "source.files: nowhere.parquet does not exist"),
        ("source.files", "nowhere/*.parquet", "source.files: nothing matches nowhere/"),
        ("source.files", "{folder}", "source.files: .* is a folder; name its files"),
        ("source.files", ["{log}", "{folder}/*"], "source.files: .* is named 2 times"),
        ("source.files", "nosuch://bucket/log", "nosuch://bucket/log: "),
        ("name", None, "name: missing; it is required"),
    ],
)
def test_a_wrong_spec_is_the_users_mistake(
    path: str, value: Any, message: str, log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = json.loads(json.dumps(value).replace("{folder}", str(Path(log).parent)).replace("{log}", log))
    code, said = refused(tmp_path, capsys, changed(plain_spec([log]), path, value))
    assert code == 2
    assert re.search(message, said), said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"name: [unclosed", "spec.yaml: not YAML: "),
        (b"just words", "spec.yaml: found 'just words', expected a mapping with name, source, columns and split"),
        (b"", "spec.yaml: found None, expected a mapping"),
        (b"name: \xff\xfe", "spec.yaml: not UTF-8 text"),
        (b"name: .nan", "spec.yaml: "),
        (b"when: 2020-01-01", "spec.yaml: holds a value that JSON cannot express"),
        (None, "spec.yaml: no such file; expected a spec in YAML"),
    ],
)
def test_what_is_no_spec_is_the_users_mistake(
    text: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "spec.yaml").write_bytes(text)
    assert run("build", tmp_path / "spec.yaml", "--out", tmp_path / "datasets") == 2
    assert message in capsys.readouterr().err
    assert left_behind(tmp_path / "datasets") == []


@pytest.mark.parametrize("command", ["verify", "show"])
def test_a_manifest_that_is_not_there_is_the_users_mistake(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for missing in (tmp_path / "manifest.json", tmp_path):
        assert run(command, missing) == 2
        assert f"{missing}: no such file; expected the path of a manifest.json" in capsys.readouterr().err


def test_an_output_that_cannot_be_a_folder_is_the_users_mistake(
    log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run("build", write_spec(tmp_path / "spec.yaml", plain_spec([log])), "--out", tmp_path / "file") == 2
    assert "cannot be made: Not a directory; choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--runer=FnApiRunner"], "--runer: not an option of Beam; did you mean --runner?"),
        (["--runner=NoRunner"], "--runner=NoRunner: Unexpected pipeline runner"),
        (["--runner=no.such.Runner"], "--runner=no.such.Runner: No module named 'no'"),
    ],
)
def test_flags_that_beam_does_not_know_are_the_users_mistake(
    flags: list[str], message: str, log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, out = write_spec(tmp_path / "spec.yaml", plain_spec([log])), tmp_path / "datasets"
    assert run("build", spec, "--out", out, "--", *flags) == 2
    assert message in capsys.readouterr().err
    assert left_behind(out) == []


def test_flags_after_dashes_reach_beam(log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write_spec(tmp_path / "spec.yaml", plain_spec([log]))
    flags = ["--runner=FnApiRunner", "--direct_num_workers=1"]
    assert run("build", spec, "--out", tmp_path / "datasets", "--", *flags) == 0
    path = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(Path(path).read_text())["tool"]["runner"] == "FnApiRunner"
    assert run("show", path, "--", "--runner=FnApiRunner") == 2
    assert "show takes no Beam flags" in capsys.readouterr().err


def test_the_program_itself_leaves_no_trace_and_an_exit_code(log: str, tmp_path: Path) -> None:
    def call(document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        spec = write_spec(tmp_path / "spec.yaml", document)
        command = [sys.executable, "-m", "penstock_dataprep.cli", "build", spec, "--out", str(tmp_path / "datasets")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    over_budget = call(changed(plain_spec([log]), "columns.rating.range", [4, 5]))
    assert (over_budget.returncode, over_budget.stdout) == (3, "")
    assert without_progress(over_budget.stderr).startswith("penstock-data: ")
    assert "Traceback" not in over_budget.stderr
    assert left_behind(tmp_path / "datasets") == []
    done = call(plain_spec([log]))
    assert (done.returncode, without_progress(done.stderr)) == (0, "")
    assert Path(done.stdout.splitlines()[-1]).name == "manifest.json"


def test_who_stops_reading_is_told_nothing(log: str, tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "spec.yaml", plain_spec([log]))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "penstock_dataprep.cli", "plan", spec]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
