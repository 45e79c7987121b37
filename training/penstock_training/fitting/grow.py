"""Start a run from another's last checkpoint, its tables grown to the vocabularies of an appended dataset."""

from collections.abc import Callable, Iterator

import tensorflow as tf

from penstock_shared.errors import DataRefused, UserMistake
from penstock_training.data.dataset import Dataset
from penstock_training.data.inputs import Inputs
from penstock_training.fitting.checkpoint import Checkpoints
from penstock_training.fitting.state import VALUE, State
from penstock_training.fitting.step import Trainer
from penstock_training.fitting.workdir import Workdir
from penstock_training.recipe import Recipe


def check_source(source: Workdir, recipe: Recipe, recipe_path: str, dataset: Dataset, inputs: Inputs) -> None:
    """Raise UserMistake unless a run of `recipe` on `dataset` can start from the run in `source`; cheap.

    The vocabularies must be those of its dataset or have grown from them, so that every id is the same token's still.
    """
    held, older = source.recipe(), source.dataset()
    old, new = _shaping(held), _shaping(recipe)
    for place in (*old, *(place for place in new if place not in old)):
        if old.get(place) != new.get(place):
            raise UserMistake(
                f"{recipe_path}: {place} is {new.get(place)!r}, but {source.folder} was trained with "
                f"{old.get(place)!r}; start from it with the same model and kinds of optimizer"
            )
    for what, name in _vocabularies(dataset, inputs):
        before, vocabulary = older.manifest.vocabularies.get(name), dataset.manifest.vocabularies[name]
        if before is None:
            raise UserMistake(
                f"{older.manifest_path}: has no vocabulary {name}, so {source.folder}, trained on it, knows no "
                f"{what} ids; train anew without --from"
            )
        if not vocabulary.descends_from(before):
            raise UserMistake(
                f"{dataset.manifest_path}: its {what} vocabulary (digest {vocabulary.digest[:12]}, "
                f"{vocabulary.tokens} tokens) did not grow from that of {older.manifest_path} "
                f"(digest {before.digest[:12]}, {before.tokens} tokens), which {source.folder} was trained on, so that "
                "ids mean other tokens; append to that version, or train anew without --from"
            )
    if not Checkpoints(source.checkpoints, State({}, {}, tf.train.Checkpoint()), 1, source.identity()).steps():
        raise UserMistake(f"{source.folder}: has no checkpoint to start from; finish its fit first")


def _vocabularies(dataset: Dataset, inputs: Inputs) -> Iterator[tuple[str, str]]:
    """Yield each (what it is of, name) of the vocabularies whose ids a model embeds."""
    for side, names in ((inputs.user, inputs.user_features), (inputs.item, inputs.item_features)):
        yield side.role, str(side.vocabulary)
        for feature in dataset.manifest.tables[str(side.vocabulary)].features if names else ():
            if feature.name in names and feature.vocabulary is not None:
                yield f"{side.role} feature {feature.name}'s", feature.vocabulary


def grow(trainer: Trainer, source: Workdir, warn: Callable[[str], None]) -> int:
    """Start `trainer` from the newest checkpoint of `source` that can be read, and return the step it was taken at.

    Old rows and their slots are copied bit for bit; rows of new tokens stay as they were initialised. Raises
    DataRefused where no checkpoint can be read, or one is not of the same model.
    """
    checkpoints = Checkpoints(source.checkpoints, trainer.state, 1, source.identity())
    step = checkpoints.read_newest(lambda prefix: _copy(trainer, prefix), warn)
    if step is None:
        raise DataRefused(f"{source.checkpoints}: none of its checkpoints can be read; train anew without --from")
    return step


def _copy(trainer: Trainer, prefix: str) -> None:
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    for key, variable, grows in _variables(trainer):
        held, wanted = shapes.get(key), variable.shape.as_list()
        fits = held is not None and (held[1:] == wanted[1:] and held[0] <= wanted[0] if grows else held == wanted)
        if not fits:
            raise DataRefused(
                f"{prefix}: {key.removesuffix('/' + VALUE)} has the shape {held}, expected {wanted} or, for a table, "
                "fewer rows; is it the checkpoint of another run?"
            )
    trainer.state.read_rows(prefix)
    held = trainer.state.rest
    rest = tf.train.Checkpoint(dense_variables=held.dense_variables, dense=held.dense)
    rest.read(prefix).expect_partial().assert_existing_objects_matched()
    steps = sum(reader.get_tensor(f"{name}/{VALUE}") for name in ("steps_taken", "steps_before"))
    trainer.steps_before.assign(steps)


def _shaping(recipe: Recipe) -> dict[str, object]:
    """Return what decides the variables of a run, by place in the recipe."""
    kinds = {f"optimizer.{part}.kind": held.kind for part, held in recipe.optimizer}
    return {f"model.{option}": value for option, value in recipe.model} | kinds


def _variables(trainer: Trainer) -> Iterator[tuple[str, tf.Variable, bool]]:
    """Yield each (checkpoint key, variable, whether it has a row per id) of the model and its row optimiser."""
    yield from ((key, table, True) for key, table in trainer.state.tables.items())
    for number, variable in enumerate(trainer.model.dense_variables):
        yield f"dense_variables/variable_{number}/{VALUE}", variable, False
