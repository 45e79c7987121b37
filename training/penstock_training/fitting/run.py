"""Set up a run from a recipe and a dataset: the inputs, the counts, the model and its trainer."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from penstock_shared.errors import DataRefused
from penstock_training.data.dataset import Dataset, check_files
from penstock_training.data.entities import load_attributes
from penstock_training.data.feed import Feed
from penstock_training.data.inputs import Inputs, match
from penstock_training.data.order import steps_per_epoch
from penstock_training.data.rows import SplitRows
from penstock_training.data.vocabulary import load_counts
from penstock_training.evaluation.evaluate import Evaluator
from penstock_training.evaluation.scorers import Scorer, model_scorer
from penstock_training.fitting.step import Trainer
from penstock_training.fitting.trainers import TRAINERS
from penstock_training.models import build_model
from penstock_training.models.base import Recommender
from penstock_training.recipe import Recipe
from penstock_training.strategies import STRATEGIES, Placement

# Rows are globally shuffled on disk, so that the first ones are a fair sample.
MEAN_LABEL_ROWS = 1 << 16


@dataclass(frozen=True)
class Run:
    """Hold everything training and evaluation work with."""

    recipe: Recipe
    dataset: Dataset
    inputs: Inputs
    feed: Feed
    trainer: Trainer
    evaluator: Evaluator
    placement: Placement

    @property
    def steps_per_epoch(self) -> int:
        """Return the full batches of an epoch."""
        return steps_per_epoch(self.dataset.split(self.recipe.training.split).rows, self.recipe.training.batch_rows)

    @property
    def steps(self) -> int:
        """Return the steps of the whole run."""
        return self.steps_per_epoch * self.recipe.training.epochs

    def scorer(self) -> Scorer:
        """Return the model's scorer at its present weights."""
        return model_scorer(self.trainer.scoring_model(), self.inputs.item_vocabulary.size)


def check_run(recipe: Recipe, recipe_path: str, dataset: Dataset) -> Inputs:
    """Refuse a recipe that does not fit the dataset, and a dataset whose files are not whole; cheap."""
    inputs = match(recipe, recipe_path, dataset)
    check_files(dataset, {recipe.training.split, recipe.evaluation.split})
    return inputs


def build_run(recipe: Recipe, dataset: Dataset, inputs: Inputs, placement: Placement | None = None) -> Run:
    """Load the counts and build the model at its first weights; sizes all come from the manifest.

    Variables lie where `placement` says, on one device if it says nothing.
    """
    placement = placement or STRATEGIES["one"](None)
    item_counts = load_counts(dataset, str(inputs.item.vocabulary))
    mean_label = _mean_label(recipe, dataset, inputs)
    user_attributes = load_attributes(dataset, str(inputs.user.vocabulary), inputs.user_features)
    item_attributes = load_attributes(dataset, str(inputs.item.vocabulary), inputs.item_features)
    feed = Feed(dataset, recipe.training.split, recipe.training.batch_rows, inputs.names)

    def model() -> Recommender:
        users = inputs.user_vocabulary.size
        return build_model(recipe, users, item_counts, mean_label, user_attributes, item_attributes)

    trainer = TRAINERS["devices" if placement.least_rows_on_cores is None else "cores"](
        recipe, inputs, model, item_counts, placement, feed
    )
    return Run(
        recipe,
        dataset,
        inputs,
        feed,
        trainer,
        Evaluator(recipe, dataset, inputs, item_counts),
        placement,
    )


def make_deterministic(seed: int) -> None:
    """Make every TensorFlow op of this process give equal bits for equal input."""
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _mean_label(recipe: Recipe, dataset: Dataset, inputs: Inputs) -> float:
    if inputs.label is None:
        return 0.0
    held, total = 0, 0.0
    for rows in SplitRows(dataset, recipe.training.split, inputs, recipe.evaluation.batch_rows):
        held, total = held + len(rows.labels), total + float(rows.labels.sum())
        if held >= MEAN_LABEL_ROWS:
            break
    if not np.isfinite(total):
        raise DataRefused(
            f"{dataset.manifest_path}: label {inputs.label.name} is not a finite number in some of the first {held} "
            f"rows of split {recipe.training.split}; reject such rows when preparing"
        )
    return total / held
