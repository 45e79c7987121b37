"""Parse documents strictly, and explain every fault by its path, the value found and what is allowed."""

import difflib
import json
import types
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock_shared.errors import PenstockError

Model = TypeVar("Model", bound="Strict")

# Names the place that the value at a path of keys and indices came from.
PlaceOf = typing.Callable[[tuple[Any, ...]], str]

LONGEST_SHOWN_VALUE = 80


class Strict(BaseModel):
    """Refuse unknown keys and silent type conversions; stay immutable once parsed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def parse(model: type[Model], document: Any, where: str | PlaceOf, refusal: type[PenstockError]) -> Model:
    """Build `model` from a document of plain JSON values.

    `where` names the file in messages, or says which file a value of the document came from. Raises `refusal` with one
    line per fault.
    """
    place_of = (lambda _: where) if isinstance(where, str) else where
    try:
        text = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError) as fault:
        raise refusal(f"{place_of(())}: holds a value that JSON cannot express ({fault})") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as fault:
        lines = _explain(model, json.loads(text), fault.errors())
        raise refusal("\n".join(f"{place_of(path)}: {line}" for path, line in lines)) from None


def parse_json(model: type[Model], text: str | bytes, where: str, refusal: type[PenstockError]) -> Model:
    """Build `model` from JSON text; like `parse`, and raises `refusal` for what is not JSON."""
    try:
        document = json.loads(text)
    except ValueError as fault:
        raise refusal(f"{where}: not JSON ({fault})") from None
    return parse(model, document, where, refusal)


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """Return the remedy clause for an unknown name: the closest known one, and all that are known."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(choices) or 'none'}"


def _explain(model: type[BaseModel], document: Any, errors: typing.Sequence[Any]) -> list[tuple[tuple[Any, ...], str]]:
    found: dict[tuple[Any, ...], list[Any]] = {}
    for error in errors:
        found.setdefault(_path_in(document, error), []).append(error)
    # Where one member of a union went deeper into the document, the complaints of the others say nothing.
    deepest = [path for path in found if not any(other[: len(path)] == path and other != path for other in found)]
    return [(path, _explain_one(model, path, found[path])) for path in deepest]


def _explain_one(model: type[BaseModel], path: tuple[Any, ...], errors: list[Any]) -> str:
    place = ".".join(str(part) for part in path) or "document"
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key {str(path[-1])!r}; {nearest(str(path[-1]), _keys_at(model, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{place}: missing; it is required"
    if first["type"] == "union_tag_not_found":
        return f"{place}.{first['ctx']['discriminator'].strip(chr(39))}: missing; it is required"
    if first["type"] == "union_tag_invalid":
        tag, known, key = (first["ctx"][part] for part in ("tag", "expected_tags", "discriminator"))
        return f"{place}.{key.strip(chr(39))}: found {tag!r}, expected {known}"
    shown = repr(first["input"])
    if len(shown) > LONGEST_SHOWN_VALUE:
        shown = shown[:LONGEST_SHOWN_VALUE] + "..."
    prefixes = ("Value error, ", "Input should be ")
    allowed = []
    for error in errors:
        expected = error["msg"]
        for prefix in prefixes:
            expected = expected.removeprefix(prefix)
        allowed.append(expected)
    return f"{place}: found {shown}, expected {' or '.join(allowed)}"


def _path_in(document: Any, error: Any) -> tuple[Any, ...]:
    """Return an error's location without the union tags that pydantic adds to it."""
    path: list[Any] = []
    for position, part in enumerate(error["loc"]):
        if isinstance(document, list):
            inside = isinstance(part, int) and part < len(document)
        else:
            inside = isinstance(document, dict) and part in document
        if inside:
            document = document[part]
        elif not (error["type"] == "missing" and position == len(error["loc"]) - 1):
            continue
        path.append(part)
    return tuple(path)


def _keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> set[str]:
    candidates: list[Any] = [model]
    for part in location:
        candidates = [inner for outer in candidates for inner in _step(outer, part)]
    models = [found for outer in candidates for found in _unwrap(outer) if _is_model(found)]
    return {field.alias or name for found in models for name, field in found.model_fields.items()}


def _step(annotation: Any, part: Any) -> list[Any]:
    inner: list[Any] = []
    for found in _unwrap(annotation):
        origin, arguments = typing.get_origin(found), typing.get_args(found)
        if _is_model(found):
            fields = {field.alias or name: field.annotation for name, field in found.model_fields.items()}
            if part in fields:
                inner.append(fields[part])
            elif part == found.__name__ or any(part in typing.get_args(field) for field in fields.values()):
                inner.append(found)  # The part is no key: pydantic put the union's tag into the path.
        elif origin is dict:
            inner.append(arguments[1])
        elif origin in (list, tuple):
            inner.append(arguments[0])
    return inner


def _unwrap(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _unwrap(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [found for member in typing.get_args(annotation) for found in _unwrap(member)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
