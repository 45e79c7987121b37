"""Compose recipes from files and settings: what is merged, what replaces, and which place a fault is blamed on."""

from pathlib import Path
from typing import Any

import pytest

from penstock_shared import UserMistake
from penstock_training.cli import main
from penstock_training.recipe import Adagrad, Adam, Recipe, dump_recipe, load_recipe, parse_recipe
from penstock_training.recipe.compose import Layer, lay_over

BASE = """
task: retrieval
model: {kind: two_tower, dimension: 8, hidden: [16, 8], l2: 0.5}
loss: {kind: in_batch_softmax}
optimizer: {embeddings: {kind: adam, learning_rate: 0.5, beta_1: 0.5}}
training: {epochs: 1, batch_rows: 64}
"""

RETRIEVAL = """
task: retrieval
model: {kind: two_tower, dimension: 8}
loss: {kind: in_batch_softmax}
training: {epochs: 1, batch_rows: 64}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path / "base.yaml"


def upper(base: Path, text: str, name: str = "upper.yaml") -> str:
    path = base.parent / name
    path.write_text(f"from: base.yaml\n{text}")
    return str(path)


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"m": {"a": 1, "b": 2}}, {"m": {"b": 3}}, {"m": {"a": 1, "b": 3}}),
        ({"m": {"kind": "x", "a": 1}}, {"m": {"kind": "x", "b": 3}}, {"m": {"kind": "x", "a": 1, "b": 3}}),
        ({"m": {"kind": "x", "a": 1}}, {"m": {"kind": "y", "b": 3}}, {"m": {"kind": "y", "b": 3}}),
        ({"m": {"kind": "x", "a": 1}}, {"m": {"b": 3}}, {"m": {"kind": "x", "a": 1, "b": 3}}),
        ({"m": {"n": {"kind": "x", "a": 1}, "c": 0}}, {"m": {"n": {"kind": "y"}}}, {"m": {"n": {"kind": "y"}, "c": 0}}),
        ({"l": [1, 2, 3]}, {"l": [4]}, {"l": [4]}),
        ({"m": {"a": 1}}, {"m": 5}, {"m": 5}),
        ({"m": 5}, {"m": {"a": {"b": 1}}}, {"m": {"a": {"b": 1}}}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({}, {"a": 1}, {"a": 1}),
    ],
)
def test_the_rule_of_merging(below: dict[str, Any], above: dict[str, Any], expected: dict[str, Any]) -> None:
    assert lay_over(Layer(below, {(): "below"}), Layer(above, {(): "above"})).document == expected


def test_each_value_has_the_name_of_the_place_it_came_from() -> None:
    below = Layer({"m": {"kind": "x", "a": 1, "n": {"b": 1}}, "t": 1, "k": {"kind": "p", "a": 1}}, {(): "below"})
    above = Layer({"m": {"a": 2, "n": {"c": 1}}, "k": {"kind": "q"}}, {(): "above"})
    found = lay_over(below, above)
    places = {
        (): "above over below",
        ("m",): "below",
        ("m", "kind"): "below",
        ("m", "a"): "above",
        ("m", "n", "b"): "below",
        ("m", "n", "c"): "above",
        ("t",): "below",
        ("k",): "above",
        ("k", "a"): "above",
    }
    assert {path: found.origin(path) for path in places} == places
    top = lay_over(found, Layer({"t": 2}, {(): "top"}))
    assert [top.origin(path) for path in ((), ("t",), ("m", "a"))] == ["top over above over below", "top", "above"]


def test_a_recipe_starts_from_others_relative_to_its_own_place(base: Path) -> None:
    (base.parent / "inner").mkdir()
    middle = upper(base, "model: {dimension: 16}\n", "middle.yaml")
    (base.parent / "inner" / "top.yaml").write_text(f"from: ../{Path(middle).name}\nmodel: {{hidden: [4]}}\n")
    found = load_recipe(str(base.parent / "inner" / "top.yaml"), ["training.epochs=7", "model.l2=1e-3"])
    expected = BASE.replace("dimension: 8, hidden: [16, 8], l2: 0.5", "dimension: 16, hidden: [4], l2: 0.001")
    assert found == parse_recipe(expected.replace("epochs: 1", "epochs: 7"), "r")


def test_what_a_default_kind_has_is_set_without_naming_the_kind() -> None:
    found = parse_recipe(RETRIEVAL, "r", ["optimizer.embeddings.learning_rate=0.5", "evaluation.k=[3]"])
    assert found.optimizer.embeddings.model_dump() == Adagrad(kind="adagrad", learning_rate=0.5).model_dump()
    assert found.optimizer.dense == Adam(kind="adam")
    with pytest.raises(
        UserMistake, match=r"^--set optimizer\.dense\.accumulator=1: optimizer\.dense\.accumulator: unknown"
    ):
        parse_recipe(RETRIEVAL, "r", ["optimizer.dense.accumulator=1"])
    with pytest.raises(UserMistake, match=r"^r: model\.kind: missing; it is required$"):
        parse_recipe(RETRIEVAL.replace("kind: two_tower, ", ""), "r")


def test_another_kind_leaves_the_settings_of_the_old_one_behind(base: Path) -> None:
    found = load_recipe(upper(base, "optimizer: {embeddings: {kind: sgd}}\n"))
    assert found.optimizer.embeddings.model_dump() == {"kind": "sgd", "learning_rate": 0.1}
    # The order of settings does not matter.
    for settings in (["model.kind=matrix_factorisation", "model.dimension=4"],) * 2:
        found = load_recipe(str(base), settings[::-1])
        assert (found.model.kind, found.model.dimension, found.model.l2) == ("matrix_factorisation", 4, 0.0)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (["model.hidden=[64, 32]"], (64, 32)),
        (["model.hidden=[]"], ()),
        (["model.hidden=[1]", "model.hidden=[2]"], (2,)),
        (["model={hidden: [3]}"], (3,)),
        (["model={kind: two_tower, hidden: [3]}", "model.hidden=[5]"], (5,)),
    ],
)
def test_settings_are_yaml_and_the_last_of_a_key_counts(base: Path, settings: list[str], found: tuple[int]) -> None:
    assert load_recipe(str(base), settings).model.hidden == found


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("model: {dimension: 0}\n", [], r"upper\.yaml: model\.dimension: found 0"),
        ("model: {dimensoin: 4}\n", [], r"upper\.yaml: model\.dimensoin: unknown key .* did you mean 'dimension'"),
        ("traning: {epochs: 4}\n", [], r"upper\.yaml: traning: unknown key 'traning'; did you mean 'training'"),
        ("task: rating\n", [], r"upper\.yaml over \S*base\.yaml: document: .*expected a loss for task rating"),
        ("model: {kind: matrix_factorisation, hidden: [4]}\n", [], r"upper\.yaml: model\.hidden: unknown key"),
        ("", ["model.dimension=big"], r"^--set model\.dimension=big: model\.dimension: found 'big', expected"),
        ("", ["modle.dimension=4"], r"^--set modle\.dimension=4: modle: unknown key 'modle'; did you mean 'model'"),
        ("", ["model.kind=mf"], r"^--set model\.kind=mf: model\.kind: found 'mf', expected"),
        ("", ["training.epochs"], r"^--set training\.epochs: expected a\.b=value"),
        ("", ["=3"], r"^--set =3: expected a key such as training\.epochs"),
        ("", ["model..dimension=3"], r"expected a key such as training"),
        ("", ["model.hidden=[1"], r"^--set model\.hidden=\[1: not YAML"),
        ("", ["from=other.yaml"], r"^--set from=other\.yaml: what a recipe starts from"),
        (
            "",
            ["training.lanes=3"],
            r"^--set training\.lanes=3 over \S*base\.yaml: training: .* that lanes \(3\) divides",
        ),
        ("training: {lanes: 5}\n", [], r"^\S*upper\.yaml over \S*base\.yaml: training: .* that lanes \(5\) divides"),
        ("", ["task.a=3"], r"^--set task\.a=3: task: found {'a': 3}"),
    ],
)
def test_a_fault_is_blamed_on_the_place_that_it_came_from(
    base: Path, text: str, settings: list[str], message: str
) -> None:
    with pytest.raises(UserMistake, match=message):
        load_recipe(upper(base, text), settings)


def test_a_fault_of_the_base_is_the_bases_own(base: Path) -> None:
    base.write_text(BASE.replace("epochs: 1, ", "").replace("l2: 0.5", "l2: -1"))
    with pytest.raises(UserMistake) as raised:
        load_recipe(upper(base, "model: {dimension: 4}\n"))
    lines = str(raised.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(base)] * 2
    assert "model.l2: found -1" in lines[0]
    assert "training.epochs: missing" in lines[1]


def test_circles_and_towers_and_what_is_no_recipe_are_refused(base: Path) -> None:
    folder = base.parent
    (folder / "a.yaml").write_text("from: ./b.yaml\n")
    (folder / "b.yaml").write_text("from: a.yaml\n")
    with pytest.raises(UserMistake, match=r"b\.yaml: from: a\.yaml starts from itself: .*a\.yaml -> .*b\.yaml -> "):
        load_recipe(str(folder / "a.yaml"))
    for number in range(9):
        (folder / f"{number}.yaml").write_text(f"from: {number + 1}.yaml\n")
    with pytest.raises(UserMistake, match=r"7\.yaml: from: found more than 8 recipes"):
        load_recipe(str(folder / "0.yaml"))
    for text, message in (
        ("from: absent.yaml\n", r"absent\.yaml: cannot be read"),
        ("from: [base.yaml]\n", r"c\.yaml: from: found \['base\.yaml'\], expected the path"),
        ("from: ''\n", r"c\.yaml: from: found '', expected the path"),
        ("task: rating\ntask: retrieval\n", r"c\.yaml: not YAML: key 'task' comes twice"),
        ("a: &a {b: *a}\n", r"c\.yaml: holds a value that JSON cannot express"),
    ):
        (folder / "c.yaml").write_text(text)
        with pytest.raises(UserMistake, match=message):
            load_recipe(str(folder / "c.yaml"))


def test_the_command_prints_a_recipe_that_is_the_same_again(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = upper(base, "training: {epochs: 3}\n")
    assert main(["recipe", path, "--set", "evaluation.k=[5]"]) == 0
    printed = capsys.readouterr().out
    found = load_recipe(path, ["evaluation.k=[5]"])
    assert isinstance(found, Recipe)
    assert parse_recipe(printed, "printed") == found
    assert printed == dump_recipe(found)
    assert "log_q: true" in printed
    assert main(["recipe", path, "--origins", "--set", "evaluation.k=[5]"]) == 0
    lines = [line.partition("  # ") for line in capsys.readouterr().out.splitlines()]
    origins = {value.rstrip(): where for value, _, where in lines}
    assert origins["training.epochs: 3"] == path
    assert origins["training.batch_rows: 64"] == str(base)
    assert origins["evaluation.k: [5]"] == "--set evaluation.k=[5]"
    assert origins["training.seed: 1"] == origins["evaluation.filter_seen: true"] == "default"
    assert origins['optimizer.dense.kind: "adam"'] == "default"
    assert origins["optimizer.embeddings.learning_rate: 0.5"] == str(base)
    assert origins["optimizer.embeddings.epsilon: 1e-07"] == "default"
    assert main(["recipe", path, "--set", "evaluation.k=5"]) == 2
    assert "--set evaluation.k=5: evaluation.k: found 5" in capsys.readouterr().err
