from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import TinyColumn, TinyVocabulary, write_dataset

from penstock_dataprep.records.blocks import Values
from penstock_shared import UserMistake
from penstock_training.data.dataset import open_dataset
from penstock_training.data.inputs import match
from penstock_training.recipe import parse_recipe

RECIPE = """
task: {task}
model: {{kind: matrix_factorisation}}
loss: {{kind: {loss}}}
training: {{epochs: 1, batch_rows: {batch_rows}, split: {train}}}
evaluation: {{split: {test}, k: [{k}]}}
"""
FITTING = {"task": "rating", "loss": "squared_error", "batch_rows": 4, "train": "train", "test": "test", "k": 2}
IMPLICIT = {"task": "implicit", "loss": "logistic"}
USER = TinyColumn("who", "user", "int32", "u8", vocabulary="who")
ITEM = TinyColumn("what", "item", "int32", "u8", vocabulary="what")
LABEL = TinyColumn("stars", "label", "float32", "f16")


def changed(column: TinyColumn, **changes: object) -> TinyColumn:
    return TinyColumn(**{**vars(column), **changes})


def written(root: Path, columns: list[TinyColumn]) -> Path:
    rows = {
        column.name: Values(
            np.array([3, 4, 3, 4, 3]),
            np.array([1, 1, 1, 1, 1]) if column.lengths else None,
            np.array([True, False, True, True, True]) if column.nullable else None,
        )
        for column in columns
    }
    vocabularies = {name: TinyVocabulary("int64", {7: 3, 8: 2}) for name in ("who", "what")}
    return write_dataset(root, columns, {"train": [rows], "test": [rows], "empty": []}, vocabularies)


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ([USER, LABEL], {}, "needs a feature of role 'item', but the dataset has who .user., stars .label."),
        ([ITEM, LABEL], {}, "needs a feature of role 'user'"),
        ([USER, ITEM], {}, "task rating needs a feature of role 'label'"),
        ([USER, changed(ITEM, vocabulary=None), LABEL], {}, "what of role 'item' is a int32 without a vocabulary"),
        ([USER, changed(ITEM, lengths="u8"), LABEL], {}, "what of role 'item' is a list"),
        ([USER, ITEM, changed(LABEL, nullable=True)], {}, "label stars is missing in 2 rows"),
        ([USER, ITEM, changed(LABEL, lengths="u8")], {}, "label stars is a list"),
        ([USER, ITEM, changed(LABEL, vocabulary="who", dtype="int32", storage="u8")], {}, "is an id of vocabulary who"),
        ([USER, ITEM, LABEL], {"test": "tset"}, "evaluation.split is 'tset', but the dataset has train, test, empty"),
        ([USER, ITEM, LABEL], {"test": "empty"}, "evaluation.split is 'empty', which has no rows"),
        ([USER, ITEM, LABEL], {"train": "trian"}, "training.split is 'trian'"),
        ([USER, ITEM, LABEL], {"batch_rows": 6}, "training.batch_rows is 6, but split train has 5 rows"),
        ([USER, ITEM, LABEL], {**IMPLICIT, "k": 3}, "evaluation.k asks for 3 items, but vocabulary what has 2"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_naming_both(
    tmp_path: Path, columns: list[TinyColumn], settings: dict[str, object], message: str
) -> None:
    dataset = open_dataset(str(written(tmp_path, columns)))
    recipe = parse_recipe(RECIPE.format(**{**FITTING, **settings}), "r.yaml")
    with pytest.raises(UserMistake, match=rf"r\.yaml does not fit .*manifest\.json: .*{message}"):
        match(recipe, "r.yaml", dataset)


def test_a_recipe_that_fits_finds_its_features(tmp_path: Path) -> None:
    dataset = open_dataset(str(written(tmp_path, [LABEL, ITEM, USER])))
    assert match(parse_recipe(RECIPE.format(**FITTING), "r"), "r", dataset).names == ("who", "what", "stars")
    implicit = parse_recipe(RECIPE.format(**{**FITTING, **IMPLICIT}), "r")
    assert match(implicit, "r", dataset).names == ("who", "what")


def test_cut_offs_do_not_matter_where_nothing_is_ranked(tmp_path: Path) -> None:
    dataset = open_dataset(str(written(tmp_path, [LABEL, ITEM, USER])))
    match(parse_recipe(RECIPE.format(**{**FITTING, "k": 100}), "r"), "r", dataset)
