from pathlib import Path

import pytest

from penstock_shared import UserMistake
from penstock_training.recipe import dump_recipe, parse_recipe

RETRIEVAL = """
task: retrieval
model: {kind: two_tower, dimension: 8}
loss: {kind: in_batch_softmax}
training: {epochs: 1, batch_rows: 64}
"""
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.recipe.yaml"))


def test_a_resolved_recipe_parses_to_itself() -> None:
    recipe = parse_recipe(RETRIEVAL, "r")
    assert parse_recipe(dump_recipe(recipe), "r") == recipe


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("1E2", 100.0), ("0.5", 0.5), (".5e-1", 0.05)])
def test_numbers_with_exponents_are_numbers(text: str, value: float) -> None:
    recipe = parse_recipe(RETRIEVAL + f"optimizer: {{dense: {{kind: sgd, learning_rate: {text}}}}}", "r")
    assert recipe.optimizer.dense.learning_rate == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("dimension: 8", "dimensoin: 8"), "unknown key 'dimensoin'; did you mean 'dimension'"),
        (("kind: two_tower", "kind: two_towers"), "model.kind: found 'two_towers', expected .*'two_tower'"),
        (("epochs: 1", "epochs: 0"), r"training\.epochs: found 0"),
        (("epochs: 1", "epochs: '1'"), r"training\.epochs: found '1'"),
        (("epochs: 1", "epochs: 1, lanes: 3"), r"training: .*batch_rows that lanes \(3\) divides, not 64"),
        (("epochs: 1", "epochs: 1, seed: -1"), r"training\.seed: found -1, expected greater than or equal to 0"),
        (("epochs: 1", f"epochs: 1, seed: {1 << 32}"), r"training\.seed: found 4294967296, expected less than"),
        (("epochs: 1, ", ""), r"training\.epochs: missing"),
        (("kind: in_batch_softmax", "kind: squared_error"), "a loss for task retrieval"),
        (("task: retrieval", "task: retreival"), "task: found 'retreival'"),
        (("task: retrieval", "task: [retrieval"), "not YAML"),
    ],
)
def test_faults_are_named_with_what_is_allowed(change: tuple[str, str], message: str) -> None:
    with pytest.raises(UserMistake, match=message):
        parse_recipe(RETRIEVAL.replace(*change), "r.yaml")


@pytest.mark.parametrize("text", ["", "- a list", "just words", "\x00"])
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(UserMistake, match=r"r\.yaml: "):
        parse_recipe(text, "r.yaml")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_parse(path: Path) -> None:
    parse_recipe(path.read_text(), str(path))
