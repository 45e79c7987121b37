"""Evaluate a model and the baselines by one protocol, which every result carries with it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from penstock_shared.errors import UserMistake
from penstock_shared.tokens import first_token_id
from penstock_training.data.dataset import Dataset
from penstock_training.data.inputs import Inputs
from penstock_training.data.rows import Rows, SplitRows
from penstock_training.evaluation.metrics import RANKING_METRICS, auc, log_loss, mae, mean_and_error, rmse
from penstock_training.evaluation.ranking import Questions, ask, rank
from penstock_training.evaluation.scorers import Scorer, mean_plus_biases, popularity
from penstock_training.recipe import Recipe

Metrics = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Result:
    """Hold one scorer's metrics, (value, half width of the 95 % confidence interval) each, and the protocol's stamp."""

    scorer: str
    metrics: Metrics
    stamp: str

    def to_document(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        # JSON has no NaN, which is the error of a metric of one user or row.
        metrics = {
            name: {"value": value, "error": None if np.isnan(error) else error}
            for name, (value, error) in self.metrics.items()
        }
        return {"scorer": self.scorer, "metrics": metrics, "stamp": self.stamp}


@dataclass(frozen=True)
class Protocol:
    """Say how results came about; two results are comparable when their stamps are equal."""

    dataset_digest: str
    task: str
    split: str
    rows: int
    k: tuple[int, ...]
    candidates: str
    filter: str
    ties: str
    users_evaluated: int
    left_out: dict[str, int]

    @property
    def stamp(self) -> str:
        """Return 12 hexadecimal digits of the protocol's sha256."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


def ranking_metrics(scorer: Scorer, questions: Questions, first_item: int, cut_offs: tuple[int, ...]) -> Metrics:
    """Return every ranking metric at every cut-off, with all items from `first_item` on ranked for every user."""
    hits, relevant = rank(scorer, questions, first_item, max(cut_offs)), questions.relevant_per_user
    return {
        f"{name}@{k}": mean_and_error(metric(hits, relevant, k))
        for k in cut_offs
        for name, metric in RANKING_METRICS.items()
    }


def check_questions(recipe: Recipe, dataset: Dataset, inputs: Inputs) -> None:
    """Raise UserMistake where no row of the evaluation split has a known user and item; reads up to the first."""
    if recipe.task == "rating":
        return
    first_user, first_item = (
        first_token_id(vocabulary.oov_buckets) for vocabulary in (inputs.user_vocabulary, inputs.item_vocabulary)
    )
    rows = SplitRows(dataset, recipe.evaluation.split, inputs, recipe.evaluation.batch_rows)
    if not any(((held.users >= first_user) & (held.items >= first_item)).any() for held in rows):
        raise UserMistake(
            f"{dataset.manifest_path}: no row of split {recipe.evaluation.split} has a user and an item of the "
            "vocabularies, so that there is nothing to rank; take another evaluation.split, or split the dataset by "
            "another rule"
        )


class Evaluator:
    """Evaluate scorers on the recipe's evaluation split; what does not depend on the scorer is read once."""

    def __init__(self, recipe: Recipe, dataset: Dataset, inputs: Inputs, item_counts: np.ndarray) -> None:
        """Take `item_counts`, float64 [item ids], as the popularity of items."""
        self.recipe, self.dataset, self.inputs, self.item_counts = recipe, dataset, inputs, item_counts
        self.first_user = first_token_id(inputs.user_vocabulary.oov_buckets)
        self.first_item = first_token_id(inputs.item_vocabulary.oov_buckets)
        self.items = inputs.item_vocabulary.size

    def evaluate(self, scorer: Scorer) -> Result:
        """Return the metrics of the recipe's task."""
        measured = self._rating(scorer) if self.recipe.task == "rating" else self._ranking(scorer)
        return Result(scorer.name, measured, self.protocol.stamp)

    def baselines(self) -> list[Scorer]:
        """Return the scorers a model has to beat on the recipe's task."""
        if self.recipe.task == "rating":
            train = self._split_rows(self.recipe.training.split)
            return [mean_plus_biases(train, self.inputs.user_vocabulary.size, self.items)]
        return [popularity(self.item_counts)]

    @cached_property
    def protocol(self) -> Protocol:
        """Return the protocol, which is fixed by the recipe and the dataset."""
        rating = self.recipe.task == "rating"
        vocabulary = self.inputs.item.vocabulary
        return Protocol(
            dataset_digest=self.dataset.manifest.digest,
            task=self.recipe.task,
            split=self.recipe.evaluation.split,
            rows=len(self._test.users),
            k=() if rating else self.recipe.evaluation.k,
            candidates="the row's item"
            if rating
            else f"all {self.items - self.first_item} items of vocabulary {vocabulary}",
            filter="items the user has in training" if self.recipe.evaluation.filter_seen and not rating else "none",
            ties="none" if rating else "lower id first",
            users_evaluated=len(np.unique(self._test.users)) if rating else len(self._questions.users),
            left_out=self._unknown() if rating else self._questions.left_out,
        )

    @cached_property
    def _test(self) -> Rows:
        return self._split_rows(self.recipe.evaluation.split).all()

    @cached_property
    def _questions(self) -> Questions:
        seen = None
        if self.recipe.evaluation.filter_seen:
            wanted = np.zeros(self.inputs.user_vocabulary.size, bool)
            wanted[self._test.users] = True
            wanted[: self.first_user] = False
            seen = self._split_rows(self.recipe.training.split).all(wanted)
        questions = ask(self._test, seen, self.first_user, self.first_item, self.items)
        if not len(questions.users):
            left_out = ", ".join(f"{count} {what}" for what, count in questions.left_out.items())
            raise UserMistake(
                f"{self.dataset.manifest_path}: split {self.recipe.evaluation.split} has no user with an item to find "
                f"(left out: {left_out}); take another evaluation.split, evaluation.filter_seen: false where the items "
                "were seen, or split the dataset by another rule"
            )
        return questions

    def _ranking(self, scorer: Scorer) -> Metrics:
        measured = ranking_metrics(scorer, self._questions, self.first_item, self.recipe.evaluation.k)
        return measured | self._against_negatives(scorer) if self.recipe.task == "implicit" else measured

    def _against_negatives(self, scorer: Scorer) -> Metrics:
        numbers, items = np.divmod(self._questions.relevant, self.items)
        users = self._questions.users[numbers]
        # One item drawn evenly for each positive, the same ones for every scorer.
        drawn = np.random.default_rng(0).integers(self.first_item, self.items, len(items))
        positive, negative = scorer.scores(users, items), scorer.scores(users, drawn)
        return {"auc": auc(positive, negative), "log_loss": log_loss(positive, negative)}

    def _rating(self, scorer: Scorer) -> Metrics:
        predictions = scorer.scores(self._test.users, self._test.items)
        return {"rmse": rmse(predictions, self._test.labels), "mae": mae(predictions, self._test.labels)}

    def _unknown(self) -> dict[str, int]:
        return {
            "none, but rows of users outside the vocabulary": int((self._test.users < self.first_user).sum()),
            "none, but rows of items outside the vocabulary": int((self._test.items < self.first_item).sum()),
        }

    def _split_rows(self, split_name: str) -> SplitRows:
        return SplitRows(self.dataset, split_name, self.inputs, self.recipe.evaluation.batch_rows)
