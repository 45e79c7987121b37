"""Keep a run's folder: its recipe, dataset, versions, metrics and checkpoints, and refuse another run's."""

import json
import os.path
import platform
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_training.dataset import Dataset, open_dataset
from penstock_training.recipe import Recipe, dump_recipe, parse_recipe

RECIPE_NAME, RUN_NAME, METRICS_NAME, HISTORY_NAME = "recipe.yaml", "run.json", "metrics.json", "metrics.jsonl"
VERSIONS_NAME = "versions.json"
REPORTED_PACKAGES = ("penstock-shared", "penstock-training", "tensorflow", "tf-keras", "numpy")


@dataclass(frozen=True)
class Workdir:
    """Name the files of a run's folder."""

    folder: str

    def path(self, name: str) -> str:
        """Return where a file of the run lies."""
        return posixpath.join(self.folder, name)

    @property
    def checkpoints(self) -> str:
        """Return the folder of the run's checkpoints."""
        return self.path("checkpoints")

    @property
    def tensorboard(self) -> str:
        """Return the folder of the run's TensorBoard logs."""
        return self.path("tensorboard")

    def claim(self, recipe: Recipe, dataset: Dataset) -> bool:
        """Make the folder this run's and return whether it already was.

        Raises UserMistake when it holds a run with another recipe or dataset, or something that is no run at all.
        """
        if tf.io.gfile.exists(self.path(RUN_NAME)):
            self._refuse_another(recipe, dataset)
            return True
        if tf.io.gfile.exists(self.folder) and set(tf.io.gfile.listdir(self.folder)) - {RECIPE_NAME, VERSIONS_NAME}:
            raise UserMistake(f"{self.folder}: is not empty and holds no {RUN_NAME}; give a new folder, or a run's")
        tf.io.gfile.makedirs(self.folder)
        write_text(self.path(RECIPE_NAME), dump_recipe(recipe))
        write_text(self.path(VERSIONS_NAME), to_json(versions()))
        run = {"manifest": _absolute(dataset.manifest_path), "dataset_digest": dataset.manifest.digest}
        # The run file comes last: with it, the folder is a run.
        write_text(self.path(RUN_NAME), to_json(run))
        return False

    def recipe(self) -> Recipe:
        """Return the recipe the run was started with."""
        return parse_recipe(self._read(RECIPE_NAME), self.path(RECIPE_NAME))

    def dataset(self) -> Dataset:
        """Open the run's dataset; raises UserMistake when it is no longer the one the run was started with."""
        run = json.loads(self._read(RUN_NAME))
        dataset = open_dataset(run["manifest"])
        if dataset.manifest.digest != run["dataset_digest"]:
            raise UserMistake(
                f"{self.path(RUN_NAME)}: the run was started on dataset digest {run['dataset_digest']}, "
                f"but {run['manifest']} now has {dataset.manifest.digest}"
            )
        return dataset

    def history(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl."""
        path = self.path(HISTORY_NAME)
        if not tf.io.gfile.exists(path):
            return []
        return [json.loads(line) for line in read_text(path).splitlines()]

    def write_history(self, lines: Iterable[dict[str, Any]]) -> None:
        """Replace metrics.jsonl."""
        write_text(self.path(HISTORY_NAME), "".join(json.dumps(line) + "\n" for line in lines))

    def _refuse_another(self, recipe: Recipe, dataset: Dataset) -> None:
        digest = json.loads(self._read(RUN_NAME))["dataset_digest"]
        if digest != dataset.manifest.digest:
            raise UserMistake(
                f"{self.folder}: holds a run on dataset digest {digest}, but {dataset.manifest_path} has "
                f"{dataset.manifest.digest}; give a new --workdir"
            )
        if (held := self.recipe()) != recipe:
            differing = _differences(held.model_dump(mode="json"), recipe.model_dump(mode="json"), "")
            raise UserMistake(
                f"{self.folder}: holds a run of another recipe; give a new --workdir. Differing: " + "; ".join(differing)
            )

    def _read(self, name: str) -> str:
        if not tf.io.gfile.exists(self.path(name)):
            raise UserMistake(f"{self.folder}: is not a run: it has no {name}; give the --workdir of penstock-train fit")
        return read_text(self.path(name))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_text(path: str, text: str) -> None:
    """Write a file whole or not at all."""
    with tf.io.gfile.GFile(path + ".partial", "w") as file:
        file.write(text)
    tf.io.gfile.rename(path + ".partial", path, overwrite=True)


def read_text(path: str) -> str:
    """Return a file's text."""
    with tf.io.gfile.GFile(path, "r") as file:
        text: str = file.read()
    return text


def read_recipe_file(path: str) -> str:
    """Return a recipe's text; raises UserMistake when there is none."""
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise UserMistake(f"{path}: no such file; give the path of a recipe, a YAML file")
    try:
        return read_text(path)
    except UnicodeDecodeError as fault:
        raise UserMistake(f"{path}: not UTF-8 text: {fault}") from None


def to_json(document: Any) -> str:
    """Return a JSON document for people to read."""
    return json.dumps(document, indent=1) + "\n"


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _differences(held: Any, given: Any, path: str) -> list[str]:
    if isinstance(held, dict) and isinstance(given, dict):
        keys = sorted({*held, *given})
        return [line for key in keys for line in _differences(held.get(key), given.get(key), f"{path}.{key}".strip("."))]
    return [] if held == given else [f"{path}: {held!r} in the folder, {given!r} given"]
