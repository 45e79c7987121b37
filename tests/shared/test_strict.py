"""Hold refusals of documents to naming the place, what was found and what was expected."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from penstock_shared.errors import DataRefused, PenstockError, UserMistake
from penstock_shared.strict import Strict, nearest, parse


class ByTime(Strict):
    by: Literal["time"]
    test_fraction: float


class ByHash(Strict):
    by: Literal["hash"]
    buckets: int


class Leaf(Strict):
    dtype: Literal["int64", "float32"] = "int64"
    range: tuple[float, float] | None = None


class Tree(Strict):
    name: str
    leaves: dict[str, Leaf] = Field(default_factory=dict)
    order: tuple[Leaf, ...] = ()
    split: Annotated[ByTime | ByHash, Field(discriminator="by")] | None = None
    size: int | str = 0


def refusal(document: Any) -> list[str]:
    with pytest.raises(UserMistake) as mistake:
        parse(Tree, document, "spec.yaml", UserMistake)
    return str(mistake.value).splitlines()


def test_a_sound_document_is_parsed() -> None:
    tree = parse(
        Tree,
        {"name": "a", "leaves": {"x": {"range": [0, 5]}}, "split": {"by": "hash", "buckets": 2}},
        "spec.yaml",
        UserMistake,
    )
    assert tree.leaves["x"].range == (0.0, 5.0)
    assert tree.split == ByHash(by="hash", buckets=2)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "spec.yaml: name: missing; it is required"),
        ({"name": 5}, "spec.yaml: name: found 5, expected a valid string"),
        ({"name": None}, "spec.yaml: name: found None, expected a valid string"),
        ({"name": "a", "leafs": {}}, "spec.yaml: leafs: unknown key 'leafs'; did you mean 'leaves'? known: leaves, "),
        ({"name": "a", "zzz": {}}, "spec.yaml: zzz: unknown key 'zzz'; known: leaves, name, order, size, split"),
        (
            {"name": "a", "leaves": {"x": {"dtyp": "int64"}}},
            "spec.yaml: leaves.x.dtyp: unknown key 'dtyp'; did you mean 'dtype'? known: dtype, range",
        ),
        (
            {"name": "a", "leaves": {"x": {"dtype": "int"}}},
            "spec.yaml: leaves.x.dtype: found 'int', expected 'int64' or",
        ),
        (
            {"name": "a", "order": [{}, {"dtype": 3}]},
            "spec.yaml: order.1.dtype: found 3, expected 'int64' or 'float32'",
        ),
        ({"name": "a", "leaves": {"x": {"range": [0]}}}, "spec.yaml: leaves.x.range.1: missing; it is required"),
        ({"name": "a", "split": {"by": "time"}}, "spec.yaml: split.test_fraction: missing; it is required"),
        (
            {"name": "a", "split": {"by": "hash", "bucket": 3, "buckets": 3}},
            "spec.yaml: split.bucket: unknown key 'bucket'; did you mean 'buckets'? known: buckets, by",
        ),
        ({"name": "a", "split": {"by": "day"}}, "spec.yaml: split.by: found 'day', expected 'time', 'hash'"),
        ({"name": "a", "size": [1]}, "spec.yaml: size: found [1], expected a valid integer or a valid string"),
        ([], "spec.yaml: document: found [], expected an object"),
        ("x" * 200, "spec.yaml: document: found '" + "x" * 79 + "..., expected an object"),
    ],
)
def test_a_fault_is_explained(document: Any, message: str) -> None:
    (line,) = refusal(document)
    assert line.startswith(message)


def test_every_fault_has_its_line() -> None:
    assert len(refusal({"name": 1, "leaves": {"x": {"dtype": "i"}, "y": {"rang": 1}}})) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes"])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    (line,) = refusal({"name": "a", "size": value})
    assert line.startswith("spec.yaml: holds a value that JSON cannot express")


def test_the_caller_chooses_the_refusal() -> None:
    with pytest.raises(DataRefused):
        parse(Tree, {}, "manifest.json", DataRefused)


@pytest.mark.parametrize(
    ("name", "known", "clause"),
    [
        ("user", ["user_id", "item_id"], "did you mean 'user_id'? known: item_id, user_id"),
        ("zzz", ["b", "a"], "known: a, b"),
        ("a", [], "known: none"),
    ],
)
def test_the_nearest_name(name: str, known: list[str], clause: str) -> None:
    assert nearest(name, known) == clause


def test_exit_codes() -> None:
    assert {error: error.exit_code for error in (PenstockError, UserMistake, DataRefused)} == {
        PenstockError: 1,
        UserMistake: 2,
        DataRefused: 3,
    }
    assert issubclass(UserMistake, PenstockError)
    assert issubclass(DataRefused, PenstockError)
