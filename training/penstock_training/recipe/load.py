"""Load a recipe: the file, those it starts from, and the settings over them."""

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock_shared.errors import UserMistake
from penstock_shared.strict import Strict, nearest, parse
from penstock_training.recipe.compose import Layer, flatten, lay_over
from penstock_training.recipe.override import Setting, parse_setting, settings_layer
from penstock_training.recipe.schema import Recipe
from penstock_training.recipe.text import parse_yaml

# Names the recipe that a recipe starts from, relative to its own place.
FROM = "from"
MOST_FILES = 8
# Names where values come from that nobody gave.
DEFAULT = "default"
DEFAULTS: dict[str, Any] = {
    name: field.default.model_dump(mode="json")
    for name, field in Recipe.model_fields.items()
    if isinstance(field.default, Strict)
}


def load_recipe(path: str, settings: Sequence[str] = ()) -> Recipe:
    """Return the recipe at `path`, local or a URL, with `settings` (a.b=value) over it.

    Reads local files without TensorFlow. Raises UserMistake with one line for each fault, naming the file or setting
    that the value is from.
    """
    return parse_recipe(read_text(path), path, settings)


def parse_recipe(text: str | bytes, where: str, settings: Sequence[str] = ()) -> Recipe:
    """Return the recipe that a YAML text holds; as `load_recipe`, the text being that of the file `where`."""
    return resolve(read_layers(text, where), [parse_setting(setting) for setting in settings])


def read_layers(text: str | bytes, where: str) -> Layer:
    """Return what a YAML text and the files it starts from say together. Raises UserMistake."""
    layers = [_layer(text, where)]
    paths = [_plain(where)]
    while (base := layers[-1].document.pop(FROM, None)) is not None:
        path = _base_path(base, paths)
        layers.append(_layer(read_text(path), path))
        paths.append(path)
    whole = layers.pop()
    # A recipe need not repeat the kind that it has by default to set what that kind has.
    laid = lay_over(Layer(DEFAULTS, {(): DEFAULT}), whole)
    whole = Layer(laid.document, {**laid.origins, (): whole.origin(())})
    while layers:
        whole = lay_over(whole, layers.pop())
    return whole


def resolve(said: Layer, settings: Sequence[Setting]) -> Recipe:
    """Return the recipe of what files say and the settings over it. Raises UserMistake as `load_recipe` does."""
    whole = _with_settings(said, settings)
    return parse(Recipe, whole.document, whole.origins_of, UserMistake)


def recipe_origins(path: str, settings: Sequence[str]) -> list[tuple[str, Any, str]]:
    """Return (dotted key, value, the file or setting it came from, or that it is a default) of a resolved recipe."""
    parsed = [parse_setting(setting) for setting in settings]
    said = read_layers(read_text(path), path)
    values = flatten(resolve(said, parsed).model_dump(mode="json"))
    whole = _with_settings(said, parsed)
    held = flatten(whole.document)
    return [
        (key, value, whole.origin(tuple(key.split("."))) if key in held else DEFAULT) for key, value in values.items()
    ]


def read_text(path: str) -> bytes:
    """Return a file's bytes; raises UserMistake where there is none to read."""
    if "://" not in path:
        try:
            return Path(path).read_bytes()
        except OSError as fault:
            raise UserMistake(f"{path}: cannot be read: {fault.strerror}; give the path of a YAML file") from None
    # TensorFlow, which knows buckets, takes seconds to import.
    from penstock_training import storage

    if not storage.exists(path) or storage.is_folder(path):
        raise UserMistake(f"{path}: no such file; give the path of a YAML file")
    return storage.read_bytes(path)


def _with_settings(said: Layer, settings: Sequence[Setting]) -> Layer:
    return lay_over(said, settings_layer(settings)) if settings else said


def _layer(text: str | bytes, where: str) -> Layer:
    document = parse_yaml(text, where)
    if not isinstance(document, dict):
        raise UserMistake(
            f"{where}: found {type(document).__name__}, expected keys such as task, model, loss, training"
        )
    known = (*Recipe.model_fields, FROM)
    for key in document:
        if key not in known:
            raise UserMistake(f"{where}: {key}: unknown key {key!r}; {nearest(key, known)}")
    return Layer(document, {(): where})


def _base_path(base: Any, paths: list[str]) -> str:
    """Return where the recipe lies that the last of `paths` starts from."""
    where = paths[-1]
    if not isinstance(base, str) or not base:
        raise UserMistake(
            f"{where}: {FROM}: found {base!r}, expected the path of a recipe, relative to this one's folder"
        )
    path = _plain(base if "://" in base else posixpath.join(posixpath.dirname(where), base))
    if path in paths:
        raise UserMistake(
            f"{where}: {FROM}: {base} starts from itself: {' -> '.join([*paths[paths.index(path) :], path])}"
        )
    if len(paths) == MOST_FILES:
        raise UserMistake(
            f"{where}: {FROM}: found more than {MOST_FILES} recipes, each from another: {' -> '.join(paths)}"
        )
    return path


def _plain(path: str) -> str:
    """Return a path without `.` and `..` steps, so that one file has one name."""
    scheme, separator, rest = path.rpartition("://")
    return scheme + separator + posixpath.normpath(rest)
