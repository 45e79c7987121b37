"""Kill, pre-empt and damage a run, and hold what it comes to against a run that nothing broke, bit for bit."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from processes import end_of, kill_after, kill_in_save, start, terminate_in_call

from penstock_shared import DataRefused
from penstock_training.fitting.checkpoint import Checkpoints
from penstock_training.fitting.preemption import Preempted, Preemption
from penstock_training.fitting.seal import Identity
from penstock_training.train import fit

RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 8, hidden: [8]}
loss: {kind: in_batch_softmax}
optimizer: {embeddings: {kind: adam, learning_rate: 0.01}, dense: {kind: adam}}
training: {epochs: 4, batch_rows: 32, window_blocks: 3, checkpoint_every_steps: 40, unknown_user_rate: 0.1}
evaluation: {k: [5], every_epochs: 1}
"""
STEPS = 4 * (2400 // 32)
KILLS = (
    (kill_after, 13),  # before there is a checkpoint
    (kill_in_save, 160),  # after the curve was saved beyond the last checkpoint
    (kill_after, 151),  # inside a point of the curve, an epoch and a window
    (terminate_in_call, 211),
)


def curve(workdir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (workdir / "losses.jsonl").read_text().splitlines()]


def outcome(workdir: Path) -> dict[str, bytes]:
    """Return all that a run comes to: variables of the last checkpoint, slots included, losses and metrics."""
    prefix = workdir / "checkpoints" / f"step-{STEPS:010d}" / "state"
    reader = tf.train.load_checkpoint(str(prefix))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    files = ("losses.jsonl", "metrics.jsonl", "metrics.json")
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names} | {
        name: (workdir / name).read_bytes() for name in files
    }


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def unbroken(events: Path, recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    fit(recipe, str(events), str(run))
    return run


def test_the_curve_has_a_point_for_every_fifty_steps(unbroken: Path) -> None:
    points = curve(unbroken)
    assert [point["step"] for point in points] == list(range(50, STEPS + 1, 50))
    assert points[-1]["loss"] < points[0]["loss"] - 0.1


def test_a_run_killed_again_and_again_comes_to_equal_bits(
    events: Path, recipe: str, unbroken: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = ["fit", recipe, "--dataset", str(events), "--workdir", str(run)]
    codes = [end_of(start(tmp_path / "log", arguments, prepare, step)) for prepare, step in KILLS]
    log = (tmp_path / "log").read_text()
    assert codes == [-9, -9, -9, 143], log
    assert "told to stop by SIGTERM: saved step " in log
    assert [line.split("step ")[1] for line in log.splitlines() if "continuing after" in line] == [
        f"{step} of {STEPS}" for step in (120, 120)
    ]
    assert not (run / "metrics.json").exists()
    fit(recipe, str(events), str(run))
    assert outcome(run) == outcome(unbroken)


def test_sigterm_during_an_evaluation_saves_and_a_damaged_checkpoint_is_passed_over(
    events: Path,
    recipe: str,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    from penstock_training.evaluation import evaluate as evaluation

    whole = evaluation.Evaluator.evaluate

    def preempted(*given: object) -> evaluation.Result:
        if not (tmp_path / "asked").exists():
            (tmp_path / "asked").touch()
            signal.raise_signal(signal.SIGTERM)
        return whole(*given)

    monkeypatch.setattr(evaluation.Evaluator, "evaluate", preempted)
    with pytest.raises(Preempted, match=rf"saved step 75 of {STEPS}; run the same command again"):
        fit(recipe, str(events), str(run))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert (run / "checkpoints/step-0000000075/complete").exists()
    data = next((run / "checkpoints/step-0000000075").glob("state.data-*"))
    flip(data, data.stat().st_size // 2)
    fit(recipe, str(events), str(run))
    said = capsys.readouterr().err
    assert "step-0000000075: passed over, cannot be read: " in said
    assert f"continuing after step 40 of {STEPS}" in said
    assert outcome(run) == outcome(unbroken)


def test_a_checkpoint_of_another_run_is_refused(events: Path, recipe: str, unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "other.yaml").write_text(RECIPE.replace("learning_rate: 0.01", "learning_rate: 0.02"))
    shutil.copytree(unbroken, run)
    described = json.loads((run / "run.json").read_text())
    described["recipe"]["optimizer"]["embeddings"]["learning_rate"] = 0.02
    (run / "run.json").write_text(json.dumps(described))
    with pytest.raises(DataRefused, match=r"step-0000000300: is another run's: its recipe digest is \w+, expected \w+"):
        fit(str(tmp_path / "other.yaml"), str(events), str(run))


def flip(path: Path, place: int, bit: int = 3) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


IDENTITY = Identity("the dataset", "the recipe")


def saved(folder: Path, identity: Identity = IDENTITY) -> tuple[Checkpoints, dict[str, tf.Variable]]:
    """Save steps 1 and 2 of a small state, a float32 table filled with the step in both."""
    variables = {name: tf.Variable(tf.zeros([5, 3]), name=name) for name in ("table", "slots")}
    checkpoints = Checkpoints(str(folder), tf.train.Checkpoint(**variables), 2, identity)
    for step in (1, 2):
        for variable in variables.values():
            variable.assign(tf.fill([5, 3], float(step)))
        checkpoints.save(step)
    return checkpoints, variables


def test_a_bit_flipped_or_a_file_cut_anywhere_never_restores_other_numbers(
    tmp_path: Path, random: np.random.Generator
) -> None:
    checkpoints, variables = saved(tmp_path)
    passed_over = 0
    for path in sorted((tmp_path / "step-0000000002").iterdir()):
        whole = path.read_bytes()
        places = random.integers(0, len(whole), 25)
        damaged = [bytes([*whole[:at], whole[at] ^ 1 << at % 8, *whole[at + 1 :]]) for at in places]
        damaged += [whole[:at] for at in [0, *places[:8]]]
        for content in damaged:
            path.write_bytes(content)
            for variable in variables.values():
                variable.assign(tf.zeros([5, 3]))
            step = checkpoints.restore(lambda warning: None)
            passed_over += step == 1
            assert step in (1, 2)
            for variable in variables.values():
                assert (variable.numpy() == step).all(), (path, len(content))
        path.write_bytes(whole)
    # A few bits of the index file mean nothing; all the others are noticed.
    assert passed_over > 90
    assert checkpoints.restore(print) == 2


def test_a_checkpoint_is_sealed_or_is_not_there(tmp_path: Path) -> None:
    checkpoints, _ = saved(tmp_path)
    checkpoints.save(3)
    assert checkpoints.steps() == [3, 2]
    (tmp_path / "step-0000000003/complete").unlink()
    (tmp_path / "step-0000000002/complete").write_text("")
    warnings: list[str] = []
    with pytest.raises(DataRefused, match="none of its 1 checkpoints can be read; start again in a new workdir"):
        checkpoints.restore(warnings.append)
    assert "step-0000000002: passed over, cannot be read: its complete file cannot be read" in warnings[0]


def test_a_save_drops_what_was_passed_over_or_left_half_written(tmp_path: Path) -> None:
    checkpoints, _ = saved(tmp_path)
    checkpoints.save(9)
    flip(tmp_path / "step-0000000009/complete", 5)
    checkpoints.save(7)
    (tmp_path / "step-0000000007/complete").unlink()
    assert checkpoints.restore(lambda warning: None) == 2
    checkpoints.save(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000002", "step-0000000003"]


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (Identity("another", "the recipe"), "its dataset digest is the dataset, expected another"),
        (Identity("the dataset", "another"), "its recipe digest is the recipe, expected another"),
    ],
)
def test_a_whole_checkpoint_of_another_identity_is_refused(tmp_path: Path, identity: Identity, message: str) -> None:
    checkpoints, _ = saved(tmp_path)
    checkpoints.identity = identity
    with pytest.raises(DataRefused, match=message):
        checkpoints.restore(print)


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock_training.fitting.seal.FORMAT", 7)
    checkpoints, _ = saved(tmp_path)
    monkeypatch.undo()
    with pytest.raises(DataRefused, match="has checkpoint format 7, expected 2; continue with the version"):
        checkpoints.restore(print)


def test_sigterm_waits_for_the_end_of_a_call_and_not_in_an_evaluation() -> None:

    preemption = Preemption()
    with preemption.watched():
        signal.raise_signal(signal.SIGTERM)
        assert preemption.asked
        with pytest.raises(Preempted), preemption.at_once():
            raise AssertionError("not reached")
