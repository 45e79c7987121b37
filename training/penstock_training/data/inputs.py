"""Match a recipe to a dataset: find the features it trains on, or refuse the pair naming both sides."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penstock_shared.errors import UserMistake
from penstock_shared.features import Feature
from penstock_shared.strict import nearest
from penstock_shared.vocabularies import Vocabulary
from penstock_training.data.dataset import Dataset
from penstock_training.data.entities import id_count
from penstock_training.recipe import Recipe, TwoTower

# Of values that should not be there.
MOST_SHOWN = 5


@dataclass(frozen=True)
class Inputs:
    """Hold the features a recipe trains on and the sizes of their vocabularies; the last two are of entity tables."""

    user: Feature
    item: Feature
    label: Feature | None
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    user_features: tuple[str, ...] = ()
    item_features: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the features a batch must hold."""
        return tuple(feature.name for feature in (self.user, self.item, self.label) if feature is not None)

    def strays(self, batch: Mapping[str, np.ndarray]) -> str:
        """Say which ids of a batch, by feature name, are outside their vocabularies; nothing where none are."""
        sides = ((self.user, self.user_vocabulary, "users"), (self.item, self.item_vocabulary, "items"))
        found = []
        for feature, vocabulary, table in sides:
            ids = batch[feature.name]
            outside = np.unique(ids[(ids < 0) | (ids >= vocabulary.size)])
            if outside.size:
                shown = ", ".join(map(str, outside[:MOST_SHOWN])) + (", ..." if outside.size > MOST_SHOWN else "")
                found.append(
                    f"feature {feature.name} has ids for which table {table} has no row: {shown}; expected 0 to "
                    f"{vocabulary.size - 1}, the ids of vocabulary {feature.vocabulary}; check the dataset with "
                    "penstock-data verify"
                )
        return "; ".join(found)


def match(recipe: Recipe, recipe_path: str, dataset: Dataset) -> Inputs:
    """Return the inputs of training; raises UserMistake when the recipe cannot work on the dataset."""
    manifest, where = dataset.manifest, f"{recipe_path} does not fit {dataset.manifest_path}"
    user, user_vocabulary = _id_feature(dataset, "user", where)
    item, item_vocabulary = _id_feature(dataset, "item", where)
    if not item_vocabulary.tokens:
        raise UserMistake(f"{where}: feature {item.name} has a vocabulary without tokens, so there is no item to rank")
    label = _label(dataset, where) if recipe.task == "rating" else None
    for key, name in (("training.split", recipe.training.split), ("evaluation.split", recipe.evaluation.split)):
        if name not in manifest.splits:
            raise UserMistake(f"{where}: {key} is {name!r}, but the dataset has {', '.join(manifest.splits)}")
        if not manifest.splits[name].rows:
            raise UserMistake(f"{where}: {key} is {name!r}, which has no rows")
    rows = manifest.splits[recipe.training.split].rows
    if recipe.training.batch_rows > rows:
        raise UserMistake(
            f"{where}: training.batch_rows is {recipe.training.batch_rows}, but split {recipe.training.split} has "
            f"{rows} rows; take at most {rows}"
        )
    if recipe.task != "rating" and max(recipe.evaluation.k) > item_vocabulary.tokens:
        raise UserMistake(
            f"{where}: evaluation.k asks for {max(recipe.evaluation.k)} items, but vocabulary {item.vocabulary} has "
            f"{item_vocabulary.tokens}"
        )
    model = recipe.model
    features = (model.user_features, model.item_features) if isinstance(model, TwoTower) else ((), ())
    for feature, names in zip((user, item), features, strict=True):
        _check_attributes(dataset, f"{where}: model.{feature.role}_features", str(feature.vocabulary), names)
    return Inputs(user, item, label, user_vocabulary, item_vocabulary, *features)


def _check_attributes(dataset: Dataset, where: str, table: str, names: tuple[str, ...]) -> None:
    tables = dataset.manifest.tables
    if names and table not in tables:
        raise UserMistake(
            f"{where}: the dataset has no entity table of vocabulary {table} (it has: {', '.join(tables) or 'none'}); "
            "add one to the spec, under tables"
        )
    for name in names:
        known = [feature.name for feature in tables[table].features]
        if name not in known:
            raise UserMistake(f"{where}: no feature {name!r} in entity table {table}; {nearest(name, known)}")
        if names.count(name) > 1:
            raise UserMistake(f"{where}: {name!r} is named {names.count(name)} times, expected once")
        feature = next(feature for feature in tables[table].features if feature.name == name)
        if feature.lengths is not None and id_count(feature, dataset.manifest.vocabularies) is None:
            raise UserMistake(f"{where}: {name!r} is a list of numbers, expected ids, or a number or vector of them")


def _id_feature(dataset: Dataset, role: str, where: str) -> tuple[Feature, Vocabulary]:
    feature = dataset.manifest.feature(role)
    if feature is None:
        raise UserMistake(
            f"{where}: the recipe needs a feature of role {role!r}, but the dataset has {_roles(dataset)}"
        )
    if feature.vocabulary is None or feature.lengths is not None:
        found = "a list" if feature.lengths is not None else f"a {feature.dtype} without a vocabulary"
        raise UserMistake(
            f"{where}: feature {feature.name} of role {role!r} is {found}, expected one id from a vocabulary"
        )
    return feature, dataset.manifest.vocabularies[feature.vocabulary]


def _label(dataset: Dataset, where: str) -> Feature:
    label = dataset.manifest.feature("label")
    if label is None:
        raise UserMistake(
            f"{where}: task rating needs a feature of role 'label', but the dataset has {_roles(dataset)}"
        )
    if label.vocabulary is not None or label.lengths is not None:
        found = "a list" if label.lengths is not None else f"an id of vocabulary {label.vocabulary}"
        raise UserMistake(f"{where}: label {label.name} is {found}, expected one number a row")
    if label.statistics.nulls:
        raise UserMistake(
            f"{where}: label {label.name} is missing in {label.statistics.nulls} rows; drop them when preparing"
        )
    return label


def _roles(dataset: Dataset) -> str:
    return ", ".join(f"{feature.name} ({feature.role})" for feature in dataset.manifest.features)
