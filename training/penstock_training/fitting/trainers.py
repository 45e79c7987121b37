"""Make the trainer that a placement asks for: of tables on its devices, or with the large ones on embedding cores."""

from collections.abc import Callable

import numpy as np

from penstock_training.data.feed import Feed
from penstock_training.data.inputs import Inputs
from penstock_training.fitting.step import Trainer
from penstock_training.models.base import Recommender
from penstock_training.recipe import Recipe
from penstock_training.strategies import Placement

Model = Callable[[], Recommender]


def on_devices(
    recipe: Recipe, inputs: Inputs, model: Model, item_counts: np.ndarray, placement: Placement, _feed: Feed
) -> Trainer:
    """Return a trainer whose variables are all copied to each device, and updated by rows."""
    with placement.strategy.scope():
        return Trainer(recipe, inputs, model(), item_counts, placement.host)


def on_cores(
    recipe: Recipe, inputs: Inputs, model: Model, item_counts: np.ndarray, placement: Placement, feed: Feed
) -> Trainer:
    """Return a trainer whose large tables lie with embedding cores."""
    # Takes TensorFlow Recommenders, which others do without.
    from penstock_training.tpu.step import CoreTrainer

    return CoreTrainer(recipe, inputs, model, item_counts, placement, feed)


TRAINERS: dict[str, Callable[[Recipe, Inputs, Model, np.ndarray, Placement, Feed], Trainer]] = {
    "devices": on_devices,
    "cores": on_cores,
}
