"""Take the steps of a model whose large tables lie with the embedding cores of a TPU."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_recommenders.layers.embedding import TPUEmbedding

from penstock_shared.errors import UserMistake
from penstock_training.data.feed import Feed
from penstock_training.data.inputs import Inputs
from penstock_training.data.vocabulary import load_counts
from penstock_training.fitting.step import Trainer
from penstock_training.models.base import Recommender
from penstock_training.optimizers import table_key
from penstock_training.recipe import Recipe
from penstock_training.strategies import Placement
from penstock_training.strategies.replica import gather_slices, part_of, this_replica
from penstock_training.tpu.configs import feature_configs, input_options
from penstock_training.tpu.draws import table_draws
from penstock_training.tpu.ids import batch_of_chip, find_ids, with_ids
from penstock_training.tpu.limits import Limits, sparse_core_config, table_limits, uneven
from penstock_training.tpu.optimizers import CORE_SLOTS, HOST_OPTIMIZERS, TPU_OPTIMIZERS
from penstock_training.tpu.shards import on_sparse_cores
from penstock_training.tpu.stand_in import CoreTable, Lookups, table_creator
from penstock_training.tpu.state import Copies, CoreSlots, CoreState

Batch = dict[str, tf.Tensor]


class CoreTrainer(Trainer):
    """Look the rows of large tables up before a step, and hand their gradients back after it.

    What is looked up is a function of batch and step, so the host reckons the ids, of sampled negatives and attributes
    too, and sends them to the embedding cores; the model gets the rows in place of its lookups. Where there is no TPU,
    the layer looks up on the processor, and its Keras optimiser updates the tables.
    """

    def __init__(
        self,
        recipe: Recipe,
        inputs: Inputs,
        model: Callable[[], Recommender],
        item_counts: np.ndarray,
        placement: Placement,
        feed: Feed,
    ) -> None:
        """Build `model` with stand-ins of the large tables, and these with the cores of `placement`'s strategy."""
        self._placement, self._stand_ins = placement, Lookups()
        self._dataset, self._item_counts = feed.dataset, item_counts
        strategy, least_rows = placement.strategy, placement.least_rows_on_cores
        with strategy.scope():
            with tf.variable_creator_scope(table_creator(least_rows or 0, self._stand_ins)):
                super().__init__(recipe, inputs, model(), item_counts, placement.host)
            own = batch_of_chip(feed, recipe, recipe.training.batch_rows // placement.replicas)
            self.lookups, self.host_ids = find_ids(self, self._stand_ins, own, placement.replicas)
            on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
            options = recipe.optimizer.embeddings
            self._host_optimizer = None if on_tpu else HOST_OPTIMIZERS[options.kind](options)
            self.layer = self._new_layer(self._host_optimizer, self._limits())
        self._small = {name: table for name, table in self.tables.items() if not isinstance(table, CoreTable)}
        # Outside of the strategy's scope, and so on the host.
        self._copies = Copies(self.layer, self._new_layer(None) if on_tpu else None)
        self.state = self._core_state()
        if on_sparse_cores(self.layer):
            self._copies.push()

    def placed(self, batches: tf.data.Dataset) -> Iterator[Any]:
        """Return an iterator over (rows, ids) of each replica, which stay on the host until the step."""
        first, placement = int(self.steps_taken + self.steps_before), self._placement
        numbered = with_ids(batches, first, self.host_ids, placement.replicas, placement.host)
        placed = placement.strategy.distribute_datasets_from_function(lambda _: numbered, input_options())
        held: Iterator[Any] = iter(placed)
        return held

    def scoring_model(self) -> Recommender:
        """Return the model, whose stand-ins answer from copies of what the cores hold now."""
        self._copies.pull()
        return self.model

    def step(self, batch: tuple[Batch, Batch], step: tf.Tensor) -> tf.Tensor:
        """Take a replica's part in a step and return its share of the loss, a scalar.

        `batch` are its rows of the global batch and the ids that it looks up; `step` is as that of Trainer.
        """
        own, ids = batch
        replica, small, dense = this_replica(), list(self._small.values()), self.model.dense_variables
        large = [] if self.layer is None else self.layer.trainable_variables
        with tf.GradientTape() as tape:
            rows = {} if self.layer is None else self.layer(ids)
            with self._stand_ins.giving([rows[lookup.name] for lookup in self.lookups]):
                loss = self.loss_of(own, part_of(own, replica), step) / replica.count
        # On a TPU the large tables' gradients stay there: to ask for that of a number in their place updates them.
        of_small, of_dense, of_large = tape.gradient(loss, (small, dense, large))
        for table, gradient in zip(small, of_small, strict=True):
            with self.parts.part(f"update.{table_key(table)}", {}):
                self.row_optimizer.apply_densely(table, gather_slices(gradient), step)
        if dense:
            self.dense_optimizer.apply_gradients(zip(of_dense, dense, strict=True))
        if self._host_optimizer is not None and large:
            self._host_optimizer.iterations.assign(step)
            self._host_optimizer.apply_gradients(zip(of_large, large, strict=True))
        return loss

    def _limits(self) -> dict[str, Limits] | None:
        """Return those of SparseCores, where there are any; raises UserMistake where they cannot share a batch."""
        cores, chips = self._placement.sparse_cores_per_chip, self._placement.replicas
        if not cores or not self.lookups:
            return None
        if (fault := uneven(self.lookups, cores)) is not None:
            raise UserMistake(f"--strategy tpu: {fault}")
        user_counts = load_counts(self._dataset, str(self.inputs.user.vocabulary))
        draws = table_draws(self.recipe, self.inputs, user_counts, self._item_counts)
        return table_limits(self.lookups, draws, cores, chips)

    def _new_layer(
        self,
        host_optimizer: tf.keras.optimizers.legacy.Optimizer | None,
        limits: dict[str, Limits] | None = None,
    ) -> TPUEmbedding | None:
        if not self.lookups:
            return None
        options = self.recipe.optimizer.embeddings
        told = TPU_OPTIMIZERS[options.kind](options, lambda: self.steps_taken + self.steps_before)
        # Each chip makes only its rows of tables for SparseCores, blank ones, and is given them by the copies.
        layer = TPUEmbedding(
            feature_configs(self.lookups, blank=limits is not None),
            host_optimizer or told,
            sparse_core_embedding_config=None if limits is None else sparse_core_config(limits),
        )
        layer.build({lookup.name: tf.TensorShape([lookup.ids]) for lookup in self.lookups})
        return layer

    def _core_state(self) -> CoreState:
        kept, held = self.row_optimizer.slots, self._copies.variables
        beyond = CORE_SLOTS[self.recipe.optimizer.embeddings.kind](self.recipe.optimizer.embeddings)
        tables = self._small | {name: variables["parameters"] for name, variables in held.items()}
        self._stand_ins.copies = {name: tables[name] for name in held}
        slots = {name: kept[name] for name in self._small if name in kept}
        if beyond:
            for name, variables in held.items():
                slots[name] = CoreSlots([variables[slot] for slot in beyond], list(beyond.values()))
        ordered = {name: tables[name] for name in self.tables}
        return CoreState(ordered, slots, self.state.rest, self._copies)
