"""Train on several replicas and in several processes, and hold what comes out against one device."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from emulators.ports import held_ports
from processes import be_worker, end_of, start

from penstock_shared import UserMistake
from penstock_training.commands.arguments import DEVICES
from penstock_training.data.dataset import open_dataset
from penstock_training.data.lanes import Host
from penstock_training.fitting.run import build_run, check_run, make_deterministic
from penstock_training.optimizers import ROW_OPTIMIZERS
from penstock_training.recipe import parse_recipe
from penstock_training.strategies import STRATEGIES, place
from penstock_training.strategies.multi_worker import host_of
from penstock_training.strategies.replica import gather_slices
from penstock_training.train import fit

LOSSES = {
    "in_batch_softmax": "task: retrieval\nmodel: {kind: two_tower, dimension: 8, hidden: [8], l2: 0.01}",
    "squared_error": "task: rating\nmodel: {kind: matrix_factorisation, dimension: 4, l2: 0.01, bias_l2: 0.01}",
    "logistic": "task: implicit\nmodel: {kind: matrix_factorisation, dimension: 4, l2: 0.01}",
}
RECIPE = """
{task}
loss: {{kind: {loss}}}
optimizer: {{embeddings: {{kind: adam, learning_rate: 0.02}}, dense: {{kind: adam, learning_rate: 0.01}}}}
training: {{epochs: 2, batch_rows: 96, lanes: 2, checkpoint_every_steps: 10, unknown_user_rate: 0.1}}
evaluation: {{k: [5], every_epochs: 0}}
"""
STEPS, STEPS_OF_TRIAL = 2 * (2400 // 96), 12
# Replicas add the same numbers in another order; nothing else differs.
ROUNDING = {"rtol": 2e-4, "atol": 5e-6}


def recipe_of(loss: str) -> str:
    return RECIPE.format(task=LOSSES[loss], loss=loss)


def trained(loss: str, replicas: int, events: Path) -> tuple[float, list[np.ndarray]]:
    """Take some steps and return the mean loss and all variables; those of all replicas must be equal bits."""
    recipe, dataset = parse_recipe(recipe_of(loss), "recipe"), open_dataset(str(events))
    placement = place("mirrored" if replicas > 1 else "one", replicas, recipe.training.batch_rows)
    make_deterministic(1)
    run = build_run(recipe, dataset, check_run(recipe, "recipe", dataset), placement)
    done = run.trainer.run(iter(run.feed.training_batches(1, 0, 0, 3, lanes=2)), STEPS_OF_TRIAL)
    model, slots = run.trainer.model, run.trainer.row_optimizer.slots.values()
    copies = [
        [copy.numpy() for copy in placement.strategy.experimental_local_results(variable)]
        for variable in (*model.tables, *model.dense_variables, *slots)
    ]
    for first, *others in copies:
        assert len(others) == replicas - 1
        assert all(other.tobytes() == first.tobytes() for other in others)
    return done.mean_loss, [first for first, *_ in copies]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_on_one_device_equals_its_parts_on_several(loss: str, events: Path) -> None:
    expected_loss, expected = trained(loss, 1, events)
    for replicas in (2, 4) if loss == "in_batch_softmax" else (4,):
        found_loss, found = trained(loss, replicas, events)
        assert found_loss == pytest.approx(expected_loss, rel=1e-6)
        for one, several in zip(expected, found, strict=True):
            np.testing.assert_allclose(several, one, **ROUNDING)


def test_each_row_optimiser_makes_the_same_update_on_each_replica(random: np.random.Generator) -> None:
    start_rows = random.normal(size=(20, 3)).astype(np.float32)
    ids, values = random.integers(0, 20, (3, 16)), random.normal(size=(3, 16, 3)).astype(np.float32)
    found: dict[tuple[str, int], list[bytes]] = {}
    for replicas in (1, 4):
        strategy = place("mirrored" if replicas > 1 else "one", replicas, 16).strategy
        with strategy.scope():
            tables = {kind: tf.Variable(start_rows, name=kind) for kind in ROW_OPTIMIZERS}
            optimizers = {kind: make([tables[kind]], _options(kind)) for kind, make in ROW_OPTIMIZERS.items()}

        def update(ids: tf.Tensor, values: tf.Tensor, step: tf.Tensor) -> None:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            rows = len(ids) // tf.distribute.get_strategy().num_replicas_in_sync
            own = slice(number * rows, (number + 1) * rows)
            for kind, optimizer in optimizers.items():  # noqa: B023
                gradient = gather_slices(tf.IndexedSlices(values[own], ids[own], tf.constant([20, 3])))
                optimizer.apply(tables[kind], gradient, step)  # noqa: B023

        run = tf.function(lambda *given: strategy.run(update, given))  # noqa: B023
        for step in range(3):
            run(tf.constant(ids[step]), tf.constant(values[step]), tf.constant(step, tf.int64))
        for kind, table in tables.items():
            copies = [copy.numpy() for copy in strategy.experimental_local_results(table)]
            assert copies[0].tobytes() != start_rows.tobytes()
            found[kind, replicas] = [copy.tobytes() for copy in copies]
    for kind in ROW_OPTIMIZERS:
        assert found[kind, 4] == found[kind, 1] * 4, kind


def _options(kind: str):  # type: ignore[no-untyped-def]
    text = recipe_of("in_batch_softmax").replace("embeddings: {kind: adam", f"embeddings: {{kind: {kind}")
    return parse_recipe(text, "recipe").optimizer.embeddings


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(recipe_of("in_batch_softmax"))
    return str(path)


@pytest.fixture(scope="module")
def two(events: Path, recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on two replicas, without a break."""
    run = tmp_path_factory.mktemp("two") / "run"
    fit(recipe, str(events), str(run), strategy="mirrored", replicas=2)
    return run


def variables(run: Path, step: int = STEPS) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(run / "checkpoints" / f"step-{step:010d}" / "state"))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {name: reader.get_tensor(name) for name in names}


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "losses.jsonl").read_text().splitlines()]


def test_a_run_of_two_replicas_continues_on_one(
    events: Path, recipe: str, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elastic, one = tmp_path / "elastic", tmp_path / "one"
    shutil.copytree(two, elastic)
    shutil.rmtree(elastic / f"checkpoints/step-{STEPS:010d}")
    for run in (elastic, one):
        fit(recipe, str(events), str(run))
    assert f"continuing after step {STEPS - 10} of {STEPS}" in capsys.readouterr().err
    found = variables(elastic)
    for name, expected in variables(one).items():
        np.testing.assert_allclose(found[name], expected, **ROUNDING, err_msg=name)
    assert losses(elastic) == pytest.approx(losses(one), rel=1e-6)


@pytest.mark.slow
def test_two_workers_one_of_them_killed_come_to_the_bits_of_an_unbroken_run(
    events: Path, recipe: str, two: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = ["fit", recipe, "--dataset", str(events), "--workdir", str(run), "--strategy", "multi-worker"]

    def work(kill_step: int | None) -> list[int | None]:
        with held_ports(2) as ports:
            workers = [
                start(tmp_path / f"{number}.log", arguments, be_worker, number, ports, kill_step if number else None)
                for number in range(2)
            ]
            return [end_of(worker) for worker in workers]

    assert work(kill_step=27) == [1, -9], (tmp_path / "0.log").read_text()
    said = (tmp_path / "0.log").read_text()
    assert "worker 0 of 2: cannot go on without another worker" in said
    assert not (run / "metrics.json").exists()
    assert work(kill_step=None) == [0, 0], (tmp_path / "0.log").read_text()
    assert f"continuing after step 20 of {STEPS}" in (tmp_path / "0.log").read_text()
    assert "continuing" not in (tmp_path / "1.log").read_text()
    assert losses(run) == losses(two)
    expected = variables(two)
    for name, found in variables(run).items():
        assert found.tobytes() == expected[name].tobytes(), name
    assert (run / "metrics.json").read_bytes() == (two / "metrics.json").read_bytes()


def test_the_command_line_names_the_strategies_there_are() -> None:
    assert tuple(STRATEGIES) == tuple(DEVICES)


@pytest.mark.parametrize(
    ("strategy", "replicas", "message"),
    [
        ("one", 2, "--replicas 2: one device holds one replica; add --strategy mirrored"),
        ("mirrored", None, "--strategy mirrored: found 0 GPUs, expected at least 2; leave --strategy out"),
        ("mirrored", 1, "--strategy mirrored: found 0 GPUs, expected at least 2"),
        ("mirrored", 3, "training.batch_rows is 64, which the number of replicas, 3, does not divide; .* such as 66"),
        ("multi-worker", None, "TF_CONFIG is not set; set it in each process, as in "),
        ("multi-worker", 2, "leave --replicas out"),
        ("tpu", None, r"--strategy tpu: no TPU found at 'local' \(.*\); run it on a TPU VM, or set TPU_NAME"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    strategy: str, replicas: int | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserMistake, match=message):
        place(strategy, replicas, 64)


WORKERS = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    ("cluster", "task", "host"),
    [
        (WORKERS, {"type": "worker", "index": 0}, Host(0, 2)),
        (WORKERS, {"type": "worker", "index": "1"}, Host(1, 2)),
        ({**WORKERS, "chief": ["c:1"]}, {"type": "chief", "index": 0}, Host(0, 3)),
        ({**WORKERS, "chief": ["c:1"]}, {"type": "worker", "index": 1}, Host(2, 3)),
        (WORKERS, {"type": "worker", "index": 2}, "task worker 2 is none of 0 chiefs and 2 workers"),
        (WORKERS, {"type": "ps", "index": 0}, "task ps 0 is none of"),
        ({"worker": ["a:1"]}, {"type": "worker", "index": 0}, "names 1 process, expected at least two"),
        (WORKERS, {"type": "worker"}, re.escape("(KeyError('index')), expected such as")),
        ([], {}, "expected such as"),
    ],
)
def test_a_cluster_says_which_host_this_is(cluster: object, task: object, host: Host | str) -> None:
    config = json.dumps({"cluster": cluster, "task": task})
    if isinstance(host, Host):
        assert host_of(config) == host
    else:
        with pytest.raises(UserMistake, match=host):
            host_of(config)
