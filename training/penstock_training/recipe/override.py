"""Set values of a recipe by dotted keys, over those of its files."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock_shared.errors import UserMistake
from penstock_training.recipe.compose import Layer, Path
from penstock_training.recipe.text import parse_yaml


@dataclass(frozen=True)
class Setting:
    """Hold a value for the key at `path`, and the name of the place where that was said."""

    path: tuple[str, ...]
    value: Any
    where: str


def make_setting(dotted: str, value: Any, where: str) -> Setting:
    """Return a setting of a key such as training.epochs; raises UserMistake where it is no key of a recipe."""
    path = tuple(dotted.split("."))
    if not all(path):
        raise UserMistake(f"{where}: expected a key such as training.epochs")
    if path == ("from",):
        raise UserMistake(f"{where}: what a recipe starts from is said in its file alone")
    return Setting(path, value, where)


def parse_setting(text: str) -> Setting:
    """Return the setting that the flag --set says: a.b=value, value in YAML. Raises UserMistake naming the flag."""
    where = f"--set {text}"
    dotted, equals, value = text.partition("=")
    if not equals:
        raise UserMistake(f"{where}: expected a.b=value, as in --set training.epochs=3")
    return make_setting(dotted, parse_yaml(value, where), where)


def settings_layer(settings: Sequence[Setting]) -> Layer:
    """Return settings as one document, so that their order matters only between those of one key; the last counts."""
    document: dict[str, Any] = {}
    origins: dict[Path, str] = {(): ", ".join(setting.where for setting in settings)}
    for setting in settings:
        inner = document
        for end, key in enumerate(setting.path[:-1], start=1):
            origins.setdefault(setting.path[:end], setting.where)
            if not isinstance(inner.get(key), dict):
                inner[key] = {}
            inner = inner[key]
        # Settings beneath this one must not change the value it was given.
        inner[setting.path[-1]] = copy.deepcopy(setting.value)
        origins[setting.path] = setting.where
    return Layer(document, origins)
