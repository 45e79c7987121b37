"""Keep a run's folder: run.json with its recipe, dataset and versions, its metrics and checkpoints."""

import hashlib
import json
import platform
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from penstock_shared.errors import DataRefused, UserMistake
from penstock_shared.strict import parse
from penstock_training.data.dataset import Dataset, open_dataset
from penstock_training.fitting.seal import Identity
from penstock_training.recipe import Recipe, dump_recipe
from penstock_training.storage import (
    absolute,
    exists,
    list_folder,
    make_folder,
    read_text,
    write_text,
)

RECIPE_NAME, RUN_NAME, METRICS_NAME = "recipe.yaml", "run.json", "metrics.json"
HISTORY_NAME, LOSSES_NAME = "metrics.jsonl", "losses.jsonl"
RUN_FORMAT = 1
RUN_KEYS = {"manifest": str, "dataset_digest": str, "recipe": dict}
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

    def metrics_path(self, split: str | None) -> str:
        """Return where the metrics on a split lie, those on the split that the recipe judges by where it is None."""
        return self.path(METRICS_NAME if split in (None, self.recipe().evaluation.split) else f"metrics-{split}.json")

    def metrics(self, split: str | None = None) -> dict[str, Any]:
        """Return the metrics that the run was last evaluated to; raises UserMistake where it was not."""
        path = self.metrics_path(split)
        if not exists(path):
            evaluate = f"penstock-train evaluate {self.folder}" + ("" if split is None else f" --split {split}")
            raise UserMistake(f"{path}: no such file; run penstock-train fit to its end, or {evaluate}")
        try:
            document: dict[str, Any] = json.loads(read_text(path))
        except ValueError as fault:
            raise DataRefused(f"{path}: not JSON ({fault}); run penstock-train evaluate {self.folder} again") from None
        return document

    def claim(self, recipe: Recipe, dataset: Dataset, source: str | None) -> None:
        """Make the folder this run's, unless it is already; `source` is the run it starts from, or None.

        Raises UserMistake when it holds a run with another recipe, dataset or start, or something that is no run.
        """
        if exists(self.path(RUN_NAME)):
            self.check(recipe, dataset, source)
            held = self._run()
            if held["manifest"] != absolute(dataset.manifest_path):
                # The same dataset, moved or copied.
                write_text(self.path(RUN_NAME), to_json({**held, "manifest": absolute(dataset.manifest_path)}))
            write_text(self.path(RECIPE_NAME), dump_recipe(recipe))
            return
        if list_folder(self.folder):
            raise UserMistake(f"{self.folder}: is not empty and holds no {RUN_NAME}; give a new folder, or a run's")
        make_folder(self.folder)
        run = {
            "format": RUN_FORMAT,
            "manifest": absolute(dataset.manifest_path),
            "dataset_digest": dataset.manifest.digest,
            "recipe": recipe.model_dump(mode="json"),
            "versions": versions(),
            "from": None if source is None else absolute(source),
        }
        # One file makes the folder a run, so that a killed start leaves either nothing or a whole run.
        write_text(self.path(RUN_NAME), to_json(run))
        write_text(self.path(RECIPE_NAME), dump_recipe(recipe))

    def recipe(self) -> Recipe:
        """Return the recipe the run was started with."""
        return parse(Recipe, self._run()["recipe"], self.path(RUN_NAME), UserMistake)

    def dataset(self) -> Dataset:
        """Open the run's dataset; raises UserMistake when it is no longer the one the run was started with."""
        run = self._run()
        if not exists(run["manifest"]):
            raise UserMistake(
                f"{self.path(RUN_NAME)}: the run was trained on {run['manifest']}, where nothing is now; put the "
                "dataset there again, or run penstock-train fit with --dataset naming its new place"
            )
        dataset = open_dataset(run["manifest"])
        if dataset.manifest.digest != run["dataset_digest"]:
            raise UserMistake(
                f"{self.path(RUN_NAME)}: the run was started on dataset digest {run['dataset_digest']}, "
                f"but {run['manifest']} now has {dataset.manifest.digest}; put that version there again"
            )
        return dataset

    def source(self) -> "Workdir | None":
        """Return the run that this one started from, or None."""
        source = self._run().get("from")
        return None if source is None else Workdir(source)

    def identity(self) -> Identity:
        """Return what the run's checkpoints are known by."""
        run = self._run()
        recipe = json.dumps(run["recipe"], sort_keys=True)
        return Identity(run["dataset_digest"], hashlib.sha256(recipe.encode()).hexdigest())

    def lines(self, name: str, last_step: int) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl or losses.jsonl that are about steps up to `last_step`.

        Raises DataRefused where the file holds something else.
        """
        path = self.path(name)
        texts = read_text(path).splitlines() if exists(path) else []
        lines = [_line(text, f"{path}: line {number}") for number, text in enumerate(texts, start=1)]
        return [line for line in lines if line["step"] <= last_step]

    def write_lines(self, name: str, lines: Iterable[dict[str, Any]]) -> None:
        """Replace metrics.jsonl or losses.jsonl."""
        write_text(self.path(name), "".join(json.dumps(line) + "\n" for line in lines))

    def check(self, recipe: Recipe, dataset: Dataset, source: str | None) -> None:
        """Raise UserMistake unless the folder holds this run."""
        held_source = self._run().get("from")
        if source is not None and absolute(source) != held_source:
            raise UserMistake(
                f"{self.folder}: holds a run that started from {held_source or 'nothing'}, not from {source}; "
                "give a new --workdir"
            )
        digest = self._run()["dataset_digest"]
        if digest != dataset.manifest.digest:
            raise UserMistake(
                f"{self.folder}: holds a run on dataset digest {digest}, but {dataset.manifest_path} has "
                f"{dataset.manifest.digest}; give a new --workdir"
            )
        if (held := self.recipe()) != recipe:
            differing = _differences(held.model_dump(mode="json"), recipe.model_dump(mode="json"), "")
            raise UserMistake(
                f"{self.folder}: holds a run of another recipe; give a new --workdir. Differing: "
                + "; ".join(differing)
            )

    def _run(self) -> dict[str, Any]:
        path = self.path(RUN_NAME)
        if not exists(path):
            raise UserMistake(
                f"{self.folder}: is not a run: it has no {RUN_NAME}; give the --workdir of penstock-train fit"
            )
        try:
            run = json.loads(read_text(path))
        except ValueError as fault:
            raise UserMistake(f"{path}: not JSON ({fault}); start again in a new workdir") from None
        if not isinstance(run, dict) or not all(isinstance(run.get(key), held) for key, held in RUN_KEYS.items()):
            raise UserMistake(f"{path}: lacks a run's keys, {', '.join(RUN_KEYS)}; start again in a new workdir")
        if run.get("format") != RUN_FORMAT:
            raise UserMistake(
                f"{path}: has format {run.get('format')}, expected {RUN_FORMAT}; continue with the version of "
                "penstock-training that wrote it, or start again in a new workdir"
            )
        return run


def _line(text: str, where: str) -> dict[str, Any]:
    try:
        line: dict[str, Any] = json.loads(text)
        int(line["step"])
    except (ValueError, TypeError, KeyError) as fault:
        raise DataRefused(f"{where} is no JSON object about a step ({fault}); remove it to go on without") from None
    return line


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def to_json(document: Any) -> str:
    """Return a JSON document for people to read."""
    return json.dumps(document, indent=1) + "\n"


def _differences(held: Any, given: Any, path: str) -> list[str]:
    if isinstance(held, dict) and isinstance(given, dict):
        keys = sorted({*held, *given})
        return [
            line for key in keys for line in _differences(held.get(key), given.get(key), f"{path}.{key}".strip("."))
        ]
    return [] if held == given else [f"{path}: {held!r} in the folder, {given!r} given"]
