"""Grow a dataset with the real preparation, read it with the trainer, and go on training with larger tables."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml

from penstock_dataprep.records.blocks import decode_block
from penstock_dataprep.records.examples_decode import decode_examples
from penstock_dataprep.records.tfrecord import unframe
from penstock_shared import Manifest, UserMistake, load_manifest
from penstock_training.cli import main
from penstock_training.data.dataset import open_dataset
from penstock_training.data.feed import WEIGHT, Feed
from penstock_training.train import evaluate, fit, restore_run

ROWS, DAY = 400, 86_400
FEATURES = ("user_id", "item_id", "history", "rating", "price", "stock", "clicks", "timestamp")
COLUMNS = {
    "user_id": {"role": "user", "vocabulary": {}},
    "item_id": {"role": "item", "vocabulary": {"min_count": 2}},
    "history": {"vocabulary": "item_id"},
    "rating": {"role": "label", "dtype": "float32"},
    "price": {"dtype": "float32"},
    "stock": {},
    "clicks": {},
    "timestamp": {"role": "time"},
}
RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 6, hidden: [8]}
loss: {kind: in_batch_softmax}
optimizer: {embeddings: {kind: adam}, dense: {kind: adam}}
training: {epochs: 2, batch_rows: 64, window_blocks: 3, checkpoint_every_steps: 4, unknown_user_rate: 0.1}
evaluation: {k: [5], every_epochs: 0}
"""


def day(number: int) -> pa.Table:
    """Return the log of a day, in which ids, numbers and lists need more room than the day before, and nulls appear."""
    random = np.random.default_rng(number)
    items = random.zipf(1.3, ROWS) % (60 + 400 * number)
    lengths = random.integers(0, 3 + 300 * (number == 2), ROWS) * (np.arange(ROWS) % 40 == 0)
    history = [items[random.integers(0, ROWS, length)].tolist() for length in lengths]
    price = [None if number and place % 3 == 0 else float(place) / (1, 2, 3)[number] for place in range(ROWS)]
    return pa.table(
        {
            "user_id": [f"u{user}" for user in random.integers(0, 100 + 200 * number, ROWS)],
            "item_id": items,
            "history": pa.array(history, pa.list_(pa.int64())),
            "rating": (random.integers(1, 6, ROWS) / (1, 2, 3)[number]).astype(np.float32),
            "price": pa.array(price, pa.float32()),
            "stock": random.integers(0, 200, ROWS) * (1, 300, -7)[number],
            "clicks": pa.array([None if number == 1 and place % 5 == 0 else place % 9 for place in range(ROWS)]),
            "timestamp": number * DAY + np.arange(ROWS),
        }
    )


def penstock_data(*arguments: object) -> str:
    command = [sys.executable, "-m", "penstock_dataprep.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def grow(folder: Path, layout: str = "blocks", **changes: Any) -> list[Path]:
    """Build the first day and append two more by the command line; return the paths of the manifests."""
    manifests: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        pq.write_table(day(number), folder / f"day-{number}.parquet")
        spec = {
            "name": "grown",
            "source": {"files": str(folder / f"day-{number}.parquet"), "format": "parquet"},
            "columns": COLUMNS,
            "split": {"by": "time", "test_fraction": 0.1},
            "output": {"layout": layout, "rows_per_block": 32, "shard_bytes": "4KB"},
            **changes,
        }
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        after = ["--append-to", manifests[-1]] if manifests else []
        manifests.append(Path(penstock_data("build", folder / "spec.yaml", "--out", folder / "datasets", *after)))
    return manifests


@pytest.fixture(scope="module", params=["blocks", "examples"])
def grown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return grow(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return grow(tmp_path_factory.mktemp("days"))


def rows_of(path: Path, split: str) -> Iterator[tuple[Any, ...]]:
    """Yield a split's rows as preparation decodes them, each shard by its own columns: None for null."""
    manifest = load_manifest(path.read_bytes(), str(path))
    for shard in manifest.splits[split].shards:
        content = (path.parent.parent / shard.path).read_bytes()
        for columns in _decoded(manifest, shard, content):
            yield from zip(*columns, strict=True)


def _decoded(manifest: Manifest, shard: Any, content: bytes) -> Iterator[list[list[Any]]]:
    features = manifest.features_of(shard)
    if manifest.layout.kind == "examples":
        yield [_to_python(held) for held in decode_examples(features, content, shard.path)[1]]
        return
    for _, payload in unframe(content, shard.path):
        values = decode_block(tuple(feature.column for feature in features), payload, shard.path)[1]
        yield [_to_python(held) for held in values]


def _to_python(values: Any) -> list[Any]:
    numbers = values.numbers.tolist()
    if values.lengths is not None:
        ends = np.cumsum(values.lengths, dtype=np.int64)
        return [tuple(numbers[end - size : end]) for end, size in zip(ends, values.lengths, strict=True)]
    present = np.ones(len(numbers), bool) if values.present is None else values.present
    return [number if held else None for number, held in zip(numbers, present, strict=True)]


def fed_rows(batches: tf.data.Dataset) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of batches in the same form."""
    for batch in batches.as_numpy_iterator():
        for row in range(len(batch["user_id"])):
            if WEIGHT in batch and not batch[WEIGHT][row]:
                continue
            history = tuple(batch["history"][row][batch["history.mask"][row]].tolist())
            values = [history if name == "history" else batch[name][row].item() for name in FEATURES]
            for place, name in enumerate(FEATURES):
                if not batch.get(f"{name}.present", {row: True})[row]:
                    values[place] = None
            yield tuple(values)


def test_one_epoch_reads_shards_of_every_width(grown: list[Path]) -> None:
    manifest = load_manifest(grown[-1].read_bytes(), "manifest")
    layouts = {tuple(feature.column for feature in held.features) for held in manifest.increments}
    assert len(layouts) == 3
    dataset = open_dataset(str(grown[-1]))
    expected = list(rows_of(grown[-1], "train"))
    assert list(fed_rows(Feed(dataset, "train", 32, FEATURES).evaluation_batches())) == expected
    # Batches of one row leave none over.
    trained = fed_rows(Feed(dataset, "train", 1, FEATURES).training_batches(3, 0, 0, 2))
    assert Counter(trained) == Counter(expected)


def test_every_version_still_verifies_and_opens(grown: list[Path]) -> None:
    for path in grown:
        assert "claims hold" in penstock_data("verify", path)
        dataset = open_dataset(str(path))
        for split in ("train", "test"):
            assert list(fed_rows(Feed(dataset, split, 32, FEATURES).evaluation_batches())) == list(rows_of(path, split))


@pytest.fixture(scope="module")
def runs(days: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on the first day, and go on from there on the third: the first run's vocabulary is the third's ancestor."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "recipe.yaml").write_text(RECIPE)
    recipe = str(folder / "recipe.yaml")
    assert main(["fit", recipe, "--dataset", str(days[0]), "--workdir", str(folder / "one")]) == 0
    arguments = ["fit", recipe, "--dataset", str(days[2]), "--workdir", str(folder / "two")]
    assert main([*arguments, "--from", str(folder / "one")]) == 0
    return folder


def state(run: Path, step: int) -> dict[str, np.ndarray]:
    """Return every variable of a checkpoint."""
    reader = tf.train.load_checkpoint(str(run / "checkpoints" / f"step-{step:010d}" / "state"))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {name: reader.get_tensor(name) for name in names}


def last_step(run: Path) -> int:
    return max(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))


def test_old_rows_start_bit_for_bit_and_new_ones_as_at_the_start(
    runs: Path, days: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = tmp_path / "recipe.yaml"
    stop.write_text(RECIPE)
    grown, cold = tmp_path / "grown", tmp_path / "cold"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("penstock_training.fitting.loop.TrainingLoop._train_epoch", interrupt)
        arguments = ["fit", str(stop), "--dataset", str(days[2]), "--workdir"]
        assert main([*arguments, str(grown), "--from", str(runs / "one")]) == 130
    fit(str(stop), str(days[2]), str(cold))
    old, new = state(runs / "one", last_step(runs / "one")), state(grown, 0)
    fresh, _ = fresh_state(stop, days[2], tmp_path / "fresh", monkeypatch)
    tables = {name for name in new if name.startswith(("tables/", "rows/"))}
    assert {name.split("/")[1] for name in tables} == {"users", "items"}
    for name in tables:
        rows = len(old[name])
        assert len(new[name]) > rows
        assert new[name][:rows].tobytes() == old[name].tobytes()
        assert new[name][rows:].tobytes() == fresh[name][rows:].tobytes()
    for name in (name for name in new if name.startswith("dense")):
        assert new[name].tobytes() == old[name].tobytes(), name
    assert [int(new[f"{name}/.ATTRIBUTES/VARIABLE_VALUE"]) for name in ("steps_taken", "steps_before")] == [
        0,
        last_step(runs / "one"),
    ]
    # Run again without --from, it goes on from its own first checkpoint, to the end of the run that was not stopped.
    fit(str(stop), str(days[2]), str(grown))
    ended, expected = (state(run, last_step(run)) for run in (grown, runs / "two"))
    assert {name: value.tobytes() for name, value in ended.items()} == {
        name: value.tobytes() for name, value in expected.items()
    }
    unlike = state(cold, last_step(cold))
    assert any(unlike[name].tobytes() != ended[name].tobytes() for name in tables)


def fresh_state(
    recipe: Path, manifest: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, np.ndarray], Any]:
    """Return the variables of a run that has not taken a step."""
    from penstock_training.fitting.run import build_run, check_run
    from penstock_training.recipe import parse_recipe

    parsed = parse_recipe(recipe.read_text(), "recipe")
    dataset = open_dataset(str(manifest))
    run = build_run(parsed, dataset, check_run(parsed, "recipe", dataset))
    run.trainer.state.write(str(workdir / "checkpoints" / "step-0000000000" / "state"))
    return state(workdir, 0), run


def test_a_grown_run_is_evaluated_and_says_where_it_came_from(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(str(runs / "two"))
    assert "model" in capsys.readouterr().out
    assert json.loads((runs / "two" / "run.json").read_text())["from"] == str(runs / "one")
    run, _ = restore_run(str(runs / "two"))
    assert int(run.trainer.steps_before) == last_step(runs / "one")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "dimension: 6->dimension: 7",
            "model.dimension is 7, but .*one was trained with 6; start from it",
        ),
        ("hidden: [8]->hidden: [9]", r"model.hidden is \(9,\), but .*one was trained with \(8,\)"),
        ("embeddings: {kind: adam}->embeddings: {kind: sgd}", "optimizer.embeddings.kind is 'sgd', but .* with 'adam'"),
    ],
)
def test_a_recipe_of_another_model_is_refused(
    change: str, message: str, runs: Path, days: list[Path], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace(*change.split("->")))
    with pytest.raises(UserMistake, match=message):
        fit(str(recipe), str(days[2]), str(tmp_path / "run"), str(runs / "one"))
    assert not (tmp_path / "run").exists()


def test_a_vocabulary_that_did_not_grow_from_the_runs_is_refused(
    runs: Path, days: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(runs / "recipe.yaml")
    arguments = ["fit", recipe, "--dataset", str(days[0]), "--workdir", str(tmp_path / "run")]
    assert main([*arguments, "--from", str(runs / "two")]) == 2
    errors = capsys.readouterr().err
    assert str(days[0]) in errors
    assert str(days[2]) in errors
    assert "append to that version, or train anew without --from" in errors
    assert not (tmp_path / "run").exists()
    assert main([*arguments, "--from", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err
    arguments[-1] = str(runs / "one")
    assert main([*arguments, "--from", str(runs / "one")]) == 2
    assert "holds a run that started from nothing, not from" in capsys.readouterr().err
