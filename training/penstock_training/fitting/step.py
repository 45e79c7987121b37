"""Take training steps: sample, score, differentiate, update; several steps per call, all in one graph."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from penstock_shared.errors import PenstockError
from penstock_shared.tokens import FIRST_OOV_ID, first_token_id
from penstock_training.data.inputs import Inputs
from penstock_training.data.lanes import ONE_HOST, Host
from penstock_training.fitting.faults import Parts
from penstock_training.fitting.losses import LOSSES, Rivals, Scored
from penstock_training.fitting.state import State
from penstock_training.fitting.waiting import timed_next
from penstock_training.models.base import Recommender, log_probability
from penstock_training.optimizers import DENSE_OPTIMIZERS, ROW_OPTIMIZERS, table_key
from penstock_training.recipe import Recipe
from penstock_training.strategies.replica import Part, divide, gather_rows, gather_slices, replicas, this_replica

# Keys that keep the random streams of a step apart; a stream is a pure function of (seed, key, step), drawn for
# the global batch, so that it does not depend on the number of replicas.
UNKNOWN_USERS, UNKNOWN_ITEMS, NEGATIVES = 1, 2, 3


class NotFinite(PenstockError):
    """Say that the loss is no longer a finite number, which running again does not help."""

    exit_code = 4


@dataclass(frozen=True)
class Progress:
    """Say how some steps went: their mean loss, the first step without a finite one, how long they waited for input."""

    mean_loss: float
    first_bad_step: int | None
    input_wait_seconds: float


class Trainer:
    """Hold a model, its optimisers and the number of steps taken."""

    def __init__(
        self, recipe: Recipe, inputs: Inputs, model: Recommender, item_counts: np.ndarray, host: Host = ONE_HOST
    ) -> None:
        """Create the optimisers' slots; `item_counts` float64 [items] gives the logQ correction its q.

        Steps are taken by the replicas of the strategy in whose scope this is called.
        """
        self.recipe, self.inputs, self.model, self.host = recipe, inputs, model, host
        self.parts = Parts(recipe.model.kind)
        self._strategy = tf.distribute.get_strategy()
        self.steps_taken = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps_taken")
        # Steps of the runs that this one started from: moments and random streams go on where those left off.
        self.steps_before = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps_before")
        # Part of the checkpoint, so that the loss curve goes on where it was broken off.
        self.loss_total = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="loss_total")
        self._log_probability = tf.constant(log_probability(item_counts))
        self.row_optimizer = ROW_OPTIMIZERS[recipe.optimizer.embeddings.kind](model.tables, recipe.optimizer.embeddings)
        self.dense_optimizer = DENSE_OPTIMIZERS[recipe.optimizer.dense.kind](recipe.optimizer.dense)
        self.dense_optimizer.build(model.dense_variables)
        self.tables = {table_key(table): table for table in model.tables}
        dense = {f"variable_{number}": variable for number, variable in enumerate(model.dense_variables)}
        rest = tf.train.Checkpoint(
            dense_variables=tf.train.Checkpoint(**dense),
            dense=self.dense_optimizer,
            steps_taken=self.steps_taken,
            steps_before=self.steps_before,
            loss_total=self.loss_total,
        )
        self.state = State(self.tables, self.row_optimizer.slots, rest)

    def run(self, batches: "tf.data.Iterator[dict[str, tf.Tensor]]", steps: int) -> Progress:
        """Take `steps` steps; the loss of a step without a finite one is not counted.

        Raises ModelFault where the model fails; what reading raises is raised as it is.
        """
        try:
            loss, bad, waited = self._run(batches, tf.constant(steps, tf.int64))
        except Exception as fault:
            if (blamed := self.parts.blamed(fault)) is None:
                raise
            raise blamed from fault
        return Progress(float(loss) / steps, int(bad) if bad >= 0 else None, float(waited))

    def placed(self, batches: tf.data.Dataset) -> "Iterator[Any]":
        """Return an iterator over a host's batches, from the present step on, as `run` takes them."""
        return iter(batches)

    def scoring_model(self) -> Recommender:
        """Return the model, able to score any ids at its present weights outside of a step."""
        return self.model

    def take_loss(self) -> float:
        """Return the sum of the losses of all steps since this was last asked, whatever calls took them."""
        total = float(self.loss_total.numpy())
        self.loss_total.assign(0.0)
        return total

    @tf.function
    def _run(self, batches: "tf.data.Iterator[dict[str, tf.Tensor]]", steps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        total, bad, waited = tf.constant(0.0), tf.constant(-1, tf.int64), tf.constant(0.0, tf.float64)
        for number in tf.range(steps):
            batch, seconds = timed_next(batches, number)
            waited += seconds
            losses = self._strategy.run(self.step, (batch, self.steps_taken + self.steps_before))
            loss = self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
            finite = tf.math.is_finite(loss)
            bad = tf.where(finite | (bad >= 0), bad, self.steps_taken)
            total += tf.where(finite, loss, 0.0)
            self.loss_total.assign_add(tf.cast(loss, tf.float64))
            self.steps_taken.assign_add(1)
        return total, bad, waited

    def step(self, batch: Any, step: tf.Tensor) -> tf.Tensor:
        """Take a replica's part in a step and return its share of the loss, a scalar.

        `batch` is its host's part of the global batch; `step`, int64, counts from 0 and keys the random streams.
        """
        with tf.GradientTape() as tape:
            loss = self.loss(batch, step) / replicas()
        gradients = tape.gradient(loss, [*self.model.tables, *self.model.dense_variables])
        for table, gradient in zip(self.model.tables, gradients, strict=False):
            with self.parts.part(f"update.{table_key(table)}", {}):
                self.row_optimizer.apply(table, gather_slices(gradient), step)
        if self.model.dense_variables:
            dense = gradients[len(self.model.tables) :]
            self.dense_optimizer.apply_gradients(zip(dense, self.model.dense_variables, strict=True))
        return loss

    def loss(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """Return the mean loss of this replica's rows of a batch, its penalty included, a scalar."""
        return self.loss_of(*divide(batch, this_replica(), self.host), step)

    def loss_of(self, own: dict[str, tf.Tensor], rows: Part, step: tf.Tensor) -> tf.Tensor:
        """Return the mean loss of a replica's `own` rows, which of the global batch `rows` says, a scalar."""
        scored = self.scored(own, rows, step)
        queries, candidates = scored.queries, scored.candidates
        given = {"label": scored.labels, "negatives": scored.negatives}
        with self.parts.part("loss", {"queries": queries, "candidates": candidates, **given}):
            if self.recipe.loss.kind == "in_batch_softmax":
                rivals = Rivals(gather_rows(scored.items), gather_rows(candidates), rows.first_row)
                scored = replace(scored, rivals=rivals)
            loss = LOSSES[self.recipe.loss.kind](self.recipe.loss, scored, self._log_probability)
        with self.parts.part("penalty", {"queries": queries, "candidates": candidates}):
            return loss + self.model.penalty(queries, candidates)

    def scored(self, own: dict[str, tf.Tensor], rows: Part, step: tf.Tensor) -> Scored:
        """Return the vectors of a replica's `own` rows; all lookups are made here, and nothing of other replicas."""
        users, items = self._ids(own, rows, step)
        labels = None if self.inputs.label is None else tf.cast(own[self.inputs.label.name], tf.float32)
        inputs, part = self.inputs, self.parts.part
        with part("queries", {inputs.user.name: users}, inputs.user_features):
            queries = self.model.queries(users)
        with part("candidates", {inputs.item.name: items}, inputs.item_features):
            candidates = self.model.candidates(items)
        return Scored(queries, candidates, items, labels, self._negatives(items, rows, step))

    def _ids(self, batch: dict[str, tf.Tensor], part: Part, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        training, inputs = self.recipe.training, self.inputs
        users, items = batch[inputs.user.name], batch[inputs.item.name]
        user_buckets, item_buckets = inputs.user_vocabulary.oov_buckets, inputs.item_vocabulary.oov_buckets
        users = self._forget(users, training.unknown_user_rate, user_buckets, part, self._seed(UNKNOWN_USERS, step))
        items = self._forget(items, training.unknown_item_rate, item_buckets, part, self._seed(UNKNOWN_ITEMS, step))
        return users, items

    def _forget(self, ids: tf.Tensor, rate: float, oov_buckets: int, part: Part, seed: tf.Tensor) -> tf.Tensor:
        if not rate:
            return ids
        chances = tf.random.stateless_uniform([2, part.batch_rows], seed, alg="philox")
        unknown = FIRST_OOV_ID + tf.cast(part.of(chances[1]) * oov_buckets, ids.dtype)
        return tf.where(part.of(chances[0]) < rate, unknown, ids)

    def _negatives(self, items: tf.Tensor, part: Part, step: tf.Tensor) -> tf.Tensor | None:
        if self.recipe.loss.kind != "logistic":
            return None
        shape = [part.batch_rows, self.recipe.loss.negatives]
        vocabulary = self.inputs.item_vocabulary
        first = first_token_id(vocabulary.oov_buckets)
        drawn = tf.random.stateless_uniform(
            shape, self._seed(NEGATIVES, step), first, vocabulary.size, items.dtype, alg="philox"
        )
        with self.parts.part("negatives", {self.inputs.item.name: drawn}, self.inputs.item_features):
            vectors = self.model.candidates(tf.reshape(part.of(drawn), [-1]))
        return tf.reshape(vectors, [part.rows, self.recipe.loss.negatives, vectors.shape[-1]])

    def _seed(self, key: int, step: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.constant(self.recipe.training.seed * 16 + key, tf.int64), step])
