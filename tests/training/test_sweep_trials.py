"""Say which trials a sweep file makes, and refuse one that cannot work, before anything runs."""

from pathlib import Path

import pytest

from penstock_shared import UserMistake
from penstock_shared.strict import parse
from penstock_training.sweep.draw import all_values, chance
from penstock_training.sweep.record import Record
from penstock_training.sweep.schema import Judge, Sweep
from penstock_training.sweep.table import Row, ranked
from penstock_training.sweep.trials import load_sweep

RECIPE = """
task: retrieval
model: {kind: two_tower, dimension: 8}
loss: {kind: in_batch_softmax}
training: {epochs: 1, batch_rows: 128}
evaluation: {k: [5]}
"""
GRID = """
recipe: recipe.yaml
judge: {metric: ndcg@5}
grid: {model.dimension: [4, 8], training.epochs: [1, 2, 3]}
"""
RANDOM = """
recipe: recipe.yaml
judge: {metric: ndcg@5}
random:
  trials: 400
  seed: 3
  draw:
    model.l2: {kind: uniform, low: 0.1, high: 0.3}
    optimizer.embeddings.learning_rate: {kind: log_uniform, low: 0.001, high: 10.0}
    training.epochs: {kind: integer, low: 2, high: 9, step: 3}
    model.hidden: {kind: choice, values: [[], [8], [16, 8]]}
"""


def written(folder: Path, sweep: str) -> str:
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "sweep.yaml").write_text(sweep)
    return str(folder / "sweep.yaml")


def test_a_grid_tries_every_combination_once(tmp_path: Path) -> None:
    _, trials = load_sweep(written(tmp_path, GRID.replace("[1, 2, 3]", "[1, 2, 1]")))
    found = [(trial.number, trial.recipe.model.dimension, trial.recipe.training.epochs) for trial in trials]
    assert found == [(1, 4, 1), (2, 4, 2), (3, 8, 1), (4, 8, 2)]
    assert {trial.recipe.evaluation.split for trial in trials} == {"validation"}


def test_draws_are_a_pure_function_of_seed_trial_and_key(tmp_path: Path) -> None:
    sweep, trials = load_sweep(written(tmp_path, RANDOM))
    few, _ = load_sweep(written(tmp_path, RANDOM.replace("400", "40")))
    fewer_keys, _ = load_sweep(
        written(tmp_path, RANDOM.replace("    model.l2: {kind: uniform", "    model.temperature: {kind: uniform"))
    )
    other, _ = load_sweep(written(tmp_path, RANDOM.replace("seed: 3", "seed: 4")))
    drawn = all_values(sweep)
    assert drawn[:40] == all_values(few)
    rates = "optimizer.embeddings.learning_rate"
    assert [values[rates] for values in drawn] == [values[rates] for values in all_values(fewer_keys)]
    assert [values[rates] for values in drawn] != [values[rates] for values in all_values(other)]
    assert [trial.values for trial in trials] == drawn
    assert chance(3, 0, rates) == 0.9547687564088149
    assert drawn[0] == {"model.l2": 0.2575, rates: 6.593, "training.epochs": 2, "model.hidden": []}


def test_draws_fill_their_ranges(tmp_path: Path) -> None:
    sweep, _ = load_sweep(written(tmp_path, RANDOM))
    columns = {key: [values[key] for values in all_values(sweep)] for key in all_values(sweep)[0]}
    l2, rates = sorted(columns["model.l2"]), sorted(columns["optimizer.embeddings.learning_rate"])
    assert 0.1 <= l2[0] < 0.105
    assert 0.295 < l2[-1] <= 0.3
    assert 0.18 < l2[200] < 0.22
    assert 0.001 <= rates[0] < 0.0015
    assert 7 < rates[-1] <= 10
    assert 0.05 < rates[200] < 0.2
    counts = {value: columns["training.epochs"].count(value) for value in set(columns["training.epochs"])}
    assert set(counts) == {2, 5, 8}
    assert min(counts.values()) > 100
    assert {tuple(value) for value in columns["model.hidden"]} == {(), (8,), (16, 8)}


def test_a_trial_is_known_by_its_recipe_and_dataset(tmp_path: Path) -> None:
    _, trials = load_sweep(written(tmp_path, GRID))
    _, longer = load_sweep(written(tmp_path, GRID.replace("[4, 8]", "[2, 4, 8]").replace("[1, 2, 3]", "[3, 2, 1]")))
    names = {trial.name("digest") for trial in trials}
    assert len(names) == 6
    assert names < {trial.name("digest") for trial in longer}
    assert names.isdisjoint(trial.name("other digest") for trial in trials)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model.dimension", "model.dimensoin", r"sweep\.yaml: grid: model\.dimensoin=4: model\.dimensoin: unknown key"),
        ("[4, 8]", "[4, 0]", r"sweep\.yaml: grid: model\.dimension=0: model\.dimension: found 0"),
        ("[4, 8]", "[]", r"sweep\.yaml: grid\.model\.dimension: found \[\]"),
        ("[4, 8]", "4", r"sweep\.yaml: grid\.model\.dimension: found 4"),
        ("model.dimension", "evaluation.k", r"evaluation\.k=4: would change what trials are judged by"),
        ("model.dimension", "training.split", r"training\.split=4: would change what trials are judged by"),
        ("ndcg@5", "ndcg@10", r"judge\.metric: no metric 'ndcg@10'; did you mean .*ndcg@5"),
        ("{metric: ndcg@5}", "{metric: ndcg@5, split: train}", r"judge\.split: train is what trials are trained on"),
        ("grid:", "gird:", r"gird: unknown key 'gird'; did you mean 'grid'"),
        ("recipe.yaml", "absent.yaml", r"absent\.yaml: cannot be read"),
        ("grid: {model.dimension: [4, 8], training.epochs: [1, 2, 3]}", "", "expected either grid or random"),
        ("[1, 2, 3]", str(list(range(1, 5002))), r"grid: makes 10002 trials, expected at most 10000"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GRID
    with pytest.raises(UserMistake, match=message):
        load_sweep(written(tmp_path, GRID.replace(old, new)))


@pytest.mark.parametrize("bounds", ["low: 0.3, high: 0.1", "low: 0.1, high: 0.1"])
def test_a_range_must_have_room(tmp_path: Path, bounds: str) -> None:
    with pytest.raises(UserMistake, match=r"random\.draw\.model\.l2: .*expected low below high"):
        load_sweep(written(tmp_path, RANDOM.replace("low: 0.1, high: 0.3", bounds)))


def rows(tmp_path: Path, values: list[float | None], stamps: str = "ssss") -> list[Row]:
    _, trials = load_sweep(written(tmp_path, GRID))
    return [
        Row(
            trial,
            f"run{trial.number}",
            Record("failed" if value is None else "finished", 1),
            None
            if value is None
            else {
                "protocol": {"stamp": stamp},
                "results": [
                    {
                        "scorer": "model",
                        "metrics": {name: {"value": value, "error": 0.1} for name in ("ndcg@5", "rmse")},
                    }
                ],
            },
        )
        for trial, value, stamp in zip(trials, values, stamps, strict=False)
    ]


@pytest.mark.parametrize(("metric", "order"), [("ndcg@5", [3, 1, 4, 2]), ("rmse", [1, 4, 3, 2])])
def test_the_best_trial_comes_first_and_one_that_failed_last(tmp_path: Path, metric: str, order: list[int]) -> None:
    found = ranked(rows(tmp_path, [0.5, None, 0.75, 0.5]), Judge(metric=metric))
    assert [row.trial.number for row in found] == order


def test_trials_of_other_protocols_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match=r"different protocols and cannot be compared: run1 s, run3 t"):
        ranked(rows(tmp_path, [0.5, None, 0.75], "sst"), Judge(metric="ndcg@5"))


def test_the_example_parses(repository: Path) -> None:
    sweep, trials = load_sweep(str(repository / "examples" / "ml-100k.sweep.yaml"))
    assert parse(Sweep, sweep.model_dump(mode="json", exclude_none=True), "s", UserMistake) == sweep
    assert len(trials) == 4
