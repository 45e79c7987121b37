"""Build the model that a recipe names."""

from collections.abc import Callable

import numpy as np

from penstock_training.data.entities import NO_ATTRIBUTES, Attributes
from penstock_training.fitting.faults import blaming
from penstock_training.models.base import Recommender
from penstock_training.models.matrix_factorisation import MatrixFactorisationModel
from penstock_training.models.two_tower import TwoTowerModel
from penstock_training.recipe import Recipe

MODELS: dict[str, Callable[..., Recommender]] = {
    "matrix_factorisation": MatrixFactorisationModel,
    "two_tower": TwoTowerModel,
}


def build_model(
    recipe: Recipe,
    users: int,
    item_counts: np.ndarray,
    mean_label: float,
    user_attributes: Attributes = NO_ATTRIBUTES,
    item_attributes: Attributes = NO_ATTRIBUTES,
) -> Recommender:
    """Build the recipe's model for `users` user ids and an item id for each of `item_counts`, float64 [items].

    Raises ModelFault where the model cannot be built.
    """
    given = f"{users} user ids{_shown(user_attributes)}, {len(item_counts)} item ids{_shown(item_attributes)}"
    with blaming(f"model {recipe.model.kind} cannot be built", given):
        return MODELS[recipe.model.kind](
            recipe.model, users, item_counts, recipe.training.seed, mean_label, user_attributes, item_attributes
        )


def _shown(attributes: Attributes) -> str:
    held = [f"{attribute.name} of {attribute.size} ids" for attribute in attributes.ids]
    if attributes.numbers is not None:
        held.append(f"numbers float32 {list(attributes.numbers.shape)}")
    return f" with attributes {', '.join(held)}" if held else ""
