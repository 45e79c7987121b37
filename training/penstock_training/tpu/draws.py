"""Say how often each id of a table comes into a batch: as often as in the log, and as the recipe draws besides."""

from dataclasses import dataclass

import numpy as np

from penstock_shared.tokens import FIRST_OOV_ID, first_token_id
from penstock_shared.vocabularies import Vocabulary
from penstock_training.data.inputs import Inputs
from penstock_training.recipe import Recipe


@dataclass(frozen=True)
class Draw:
    """Say that a `part` of the ids that are looked up are drawn with the chances `shares`, float64 [rows]."""

    part: float
    shares: np.ndarray


def table_draws(
    recipe: Recipe, inputs: Inputs, user_counts: np.ndarray, item_counts: np.ndarray
) -> dict[str, list[Draw]]:
    """Return how the ids are drawn that are looked up in the tables of users and items; `counts` are of their ids."""
    training, loss = recipe.training, recipe.loss
    users = _forgotten(user_counts, training.unknown_user_rate, inputs.user_vocabulary)
    items = _forgotten(item_counts, training.unknown_item_rate, inputs.item_vocabulary)
    if loss.kind != "logistic":
        return {"users": [Draw(1.0, users)], "items": [Draw(1.0, items)]}
    all_of_a_row = 1 + loss.negatives
    negatives = Draw(loss.negatives / all_of_a_row, _even(inputs.item_vocabulary))
    return {"users": [Draw(1.0, users)], "items": [Draw(1 / all_of_a_row, items), negatives]}


def _forgotten(counts: np.ndarray, rate: float, vocabulary: Vocabulary) -> np.ndarray:
    shares: np.ndarray = counts * ((1 - rate) / counts.sum())
    shares[FIRST_OOV_ID : first_token_id(vocabulary.oov_buckets)] += rate / vocabulary.oov_buckets
    return shares


def _even(vocabulary: Vocabulary) -> np.ndarray:
    first, shares = first_token_id(vocabulary.oov_buckets), np.zeros(vocabulary.size)
    shares[first:] = 1 / (vocabulary.size - first)
    return shares
