import itertools
import json
from pathlib import Path

import pytest

from penstock_training.cli import main
from penstock_training.data import bench_input

RECIPE = """
task: rating
model: {kind: matrix_factorisation, dimension: 8}
loss: {kind: squared_error}
training: {epochs: 1, batch_rows: 100, window_blocks: 2, lanes: 2}
evaluation: {every_epochs: 0}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


class Clock:
    """Stand for a clock by which a second passes between two looks at it, however slow the machine is."""

    def __init__(self) -> None:
        self._seconds = itertools.count()

    def perf_counter(self) -> float:
        """Return the time."""
        return next(self._seconds)


def test_the_input_is_measured_over_whole_passes(
    events: Path, recipe: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_input, "time", Clock())
    assert main(["bench-input", recipe, "--dataset", str(events), "--seconds", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == found["batches"] * 100
    # Two looks at the clock for each call, which takes 16 batches at most; the first batch of all is not counted.
    assert found["passes"] == pytest.approx((16 + 7 + 16) / 24)
    assert (found["seconds"], found["first_batch_seconds"]) == (7, 1)
    assert found["rows_per_second"] == pytest.approx(found["rows"] / found["seconds"])
    assert found["stored_bytes"] > found["rows"]
    assert found["cores"] > 0


def test_what_was_measured_is_printed(events: Path, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--seconds", "1", "--set", "training.lanes=1", "--set", "training.batch_rows=50"]
    assert main(["bench-input", recipe, "--dataset", str(events), *arguments]) == 0
    printed = capsys.readouterr().out
    for said in ("rows/s", "batches of 50 rows", "1 lane", "cores busy", "s to the first batch"):
        assert said in printed


def test_a_recipe_that_does_not_fit_is_refused(events: Path, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench-input", recipe, "--dataset", str(events), "--set", "training.split=trian"]) == 2
    assert "training.split is 'trian'" in capsys.readouterr().err
