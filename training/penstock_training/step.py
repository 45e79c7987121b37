"""Take training steps: sample, score, differentiate, update; several steps per call, all in one graph."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from penstock_shared.errors import PenstockError
from penstock_shared.tokens import FIRST_OOV_ID, first_token_id
from penstock_training.inputs import Inputs
from penstock_training.losses import LOSSES, Scored
from penstock_training.models.base import Recommender, log_probability
from penstock_training.optimizers import DENSE_OPTIMIZERS, ROW_OPTIMIZERS, table_key
from penstock_training.recipe import Recipe

# Keys that keep the random streams of a step apart; a stream is a pure function of (seed, key, step).
UNKNOWN_USERS, UNKNOWN_ITEMS, NEGATIVES = 1, 2, 3


class NotFinite(PenstockError):
    """Say that the loss is no longer a finite number."""


@dataclass(frozen=True)
class Progress:
    """Say how some steps went: their mean loss, and the first step without a finite one."""

    mean_loss: float
    first_bad_step: int | None


class Trainer:
    """Hold a model, its optimisers and the number of steps taken."""

    def __init__(self, recipe: Recipe, inputs: Inputs, model: Recommender, item_counts: np.ndarray) -> None:
        """Create the optimisers' slots; `item_counts` float64 [items] gives the logQ correction its q."""
        self.recipe, self.inputs, self.model = recipe, inputs, model
        self.steps_taken = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps_taken")
        # Steps of the runs that this one started from: moments and random streams go on where those left off.
        self.steps_before = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps_before")
        self._log_probability = tf.constant(log_probability(item_counts))
        self.row_optimizer = ROW_OPTIMIZERS[recipe.optimizer.embeddings.kind](model.tables, recipe.optimizer.embeddings)
        self.dense_optimizer = DENSE_OPTIMIZERS[recipe.optimizer.dense.kind](recipe.optimizer.dense)
        self.dense_optimizer.build(model.dense_variables)
        self.tables = {table_key(table): table for table in model.tables}
        dense = {f"variable_{number}": variable for number, variable in enumerate(model.dense_variables)}
        self.checkpoint = tf.train.Checkpoint(
            tables=tf.train.Checkpoint(**self.tables),
            rows=self.row_optimizer.checkpointed,
            dense_variables=tf.train.Checkpoint(**dense),
            dense=self.dense_optimizer,
            steps_taken=self.steps_taken,
            steps_before=self.steps_before,
        )

    def run(self, batches: "tf.data.Iterator[dict[str, tf.Tensor]]", steps: int) -> Progress:
        """Take `steps` steps; the loss of a step without a finite one is not counted."""
        loss, bad = self._run(batches, tf.constant(steps, tf.int64))
        return Progress(float(loss) / steps, int(bad) if bad >= 0 else None)

    @tf.function
    def _run(self, batches: "tf.data.Iterator[dict[str, tf.Tensor]]", steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        total, bad = tf.constant(0.0), tf.constant(-1, tf.int64)
        for _ in tf.range(steps):
            batch = next(batches)
            loss = self.step(batch)
            finite = tf.math.is_finite(loss)
            bad = tf.where(finite | (bad >= 0), bad, self.steps_taken - 1)
            total += tf.where(finite, loss, 0.0)
        return total, bad

    def step(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Take one step on a batch and return its loss, a scalar."""
        step = self.steps_taken + self.steps_before
        users, items = self._ids(batch, step)
        labels = None if self.inputs.label is None else tf.cast(batch[self.inputs.label.name], tf.float32)
        with tf.GradientTape() as tape:
            queries, candidates = self.model.queries(users), self.model.candidates(items)
            scored = Scored(queries, candidates, items, labels, self._negatives(items, step))
            loss = LOSSES[self.recipe.loss.kind](self.recipe.loss, scored, self._log_probability)
            loss += self.model.penalty(queries, candidates)
        gradients = tape.gradient(loss, [*self.model.tables, *self.model.dense_variables])
        for table, gradient in zip(self.model.tables, gradients, strict=False):
            self.row_optimizer.apply(table, gradient, step)
        if self.model.dense_variables:
            dense = gradients[len(self.model.tables) :]
            self.dense_optimizer.apply_gradients(zip(dense, self.model.dense_variables, strict=True))
        self.steps_taken.assign_add(1)
        return loss

    def _ids(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        training, inputs = self.recipe.training, self.inputs
        users, items = batch[inputs.user.name], batch[inputs.item.name]
        user_buckets, item_buckets = inputs.user_vocabulary.oov_buckets, inputs.item_vocabulary.oov_buckets
        users = self._forget(users, training.unknown_user_rate, user_buckets, UNKNOWN_USERS, step)
        items = self._forget(items, training.unknown_item_rate, item_buckets, UNKNOWN_ITEMS, step)
        return users, items

    def _forget(self, ids: tf.Tensor, rate: float, oov_buckets: int, key: int, step: tf.Tensor) -> tf.Tensor:
        if not rate:
            return ids
        chances = tf.random.stateless_uniform([2, tf.size(ids)], self._seed(key, step), alg="philox")
        unknown = FIRST_OOV_ID + tf.cast(chances[1] * oov_buckets, ids.dtype)
        return tf.where(chances[0] < rate, unknown, ids)

    def _negatives(self, items: tf.Tensor, step: tf.Tensor) -> tf.Tensor | None:
        if self.recipe.loss.kind != "logistic":
            return None
        shape = [tf.size(items), self.recipe.loss.negatives]
        vocabulary = self.inputs.item_vocabulary
        first = first_token_id(vocabulary.oov_buckets)
        drawn = tf.random.stateless_uniform(
            shape, self._seed(NEGATIVES, step), first, vocabulary.size, items.dtype, alg="philox"
        )
        vectors = self.model.candidates(tf.reshape(drawn, [-1]))
        return tf.reshape(vectors, [*shape, vectors.shape[-1]])

    def _seed(self, key: int, step: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.constant(self.recipe.training.seed * 16 + key, tf.int64), step])
