"""Make the trials of a sweep: each a recipe, named by what it is."""

import hashlib
import json
import posixpath
from dataclasses import dataclass
from typing import Any

from penstock_shared.errors import UserMistake
from penstock_shared.strict import nearest, parse
from penstock_training.evaluation.metrics import metric_names
from penstock_training.recipe import Recipe, make_setting
from penstock_training.recipe.load import read_layers, read_text, resolve
from penstock_training.recipe.text import parse_yaml
from penstock_training.sweep.draw import all_values
from penstock_training.sweep.schema import Sweep

# What these say decides how a trial is judged, which is to be the same for all.
JUDGING_KEYS = ("evaluation", "task", "training.split")
MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Trial:
    """Hold a trial's number in the sweep, counted from 1, what it tries by dotted key, and the whole recipe."""

    number: int
    values: dict[str, Any]
    recipe: Recipe

    def name(self, dataset_digest: str) -> str:
        """Return a name that equal recipes on equal datasets share, whatever sweep they are of."""
        said = json.dumps([self.recipe.model_dump(mode="json"), dataset_digest], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    @property
    def shown(self) -> str:
        """Return what it tries, for people."""
        return "  ".join(f"{key}={value}" for key, value in self.values.items())


def load_sweep(path: str) -> tuple[Sweep, list[Trial]]:
    """Return the sweep at `path`, local or a URL, and its trials; reads local files without TensorFlow.

    Raises UserMistake naming the file and key, also where a trial's recipe would be none.
    """
    sweep = parse(Sweep, parse_yaml(read_text(path), path), path, UserMistake)
    base = sweep.recipe if "://" in sweep.recipe else posixpath.join(posixpath.dirname(path), sweep.recipe)
    said = read_layers(read_text(base), base)
    searched = "grid" if sweep.grid is not None else "random.draw"
    count = sweep.random.trials if sweep.random is not None else _combinations(sweep)
    if count > MOST_TRIALS:
        raise UserMistake(f"{path}: {searched}: makes {count} trials, expected at most {MOST_TRIALS}")
    trials = []
    for number, values in enumerate(all_values(sweep), start=1):
        settings = [make_setting(key, value, f"{path}: {searched}: {key}={value}") for key, value in values.items()]
        for setting in settings:
            if any(setting.path[: len(key.split("."))] == tuple(key.split(".")) for key in JUDGING_KEYS):
                raise UserMistake(f"{setting.where}: would change what trials are judged by; set it in {base}")
        judged = make_setting("evaluation.split", sweep.judge.split, f"{path}: judge.split")
        trials.append(Trial(number, values, resolve(said, [*settings, judged])))
    known = metric_names(trials[0].recipe.task, trials[0].recipe.evaluation.k)
    if sweep.judge.metric not in known:
        raise UserMistake(
            f"{path}: judge.metric: no metric {sweep.judge.metric!r}; {nearest(sweep.judge.metric, known)}"
        )
    split = trials[0].recipe.training.split
    if sweep.judge.split == split:
        raise UserMistake(f"{path}: judge.split: {split} is what trials are trained on; name a split that they are not")
    return sweep, trials


def _combinations(sweep: Sweep) -> int:
    count = 1
    for values in (sweep.grid or {}).values():
        count *= len(values)
    return count
