"""Parse documents strictly, and explain every fault by its path, the value found and what is allowed."""

import difflib
import json
import types
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock_shared.errors import PenstockError

Model = TypeVar("Model", bound="Strict")

LONGEST_SHOWN_VALUE = 80


class Strict(BaseModel):
    """Refuse unknown keys and silent type conversions; stay immutable once parsed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def parse(model: type[Model], document: Any, where: str, refusal: type[PenstockError]) -> Model:
    """Build `model` from a document of plain JSON values.

    `where` names the file in messages. Raises `refusal` with one line per fault.
    """
    try:
        text = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError) as fault:
        raise refusal(f"{where}: holds a value that JSON cannot express ({fault})") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as fault:
        lines = [f"{where}: {_explain(model, error)}" for error in fault.errors()]
        raise refusal("\n".join(lines)) from None


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """Return the remedy clause for an unknown name: the closest known one, and all that are known."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(choices) or 'none'}"


def _explain(model: type[BaseModel], error: Any) -> str:
    location = error["loc"]
    path = ".".join(str(part) for part in location) or "document"
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key {location[-1]!r}; {nearest(str(location[-1]), _keys_at(model, location[:-1]))}"
    if error["type"] == "missing":
        return f"{path}: missing; it is required"
    found = repr(error["input"])
    if len(found) > LONGEST_SHOWN_VALUE:
        found = found[:LONGEST_SHOWN_VALUE] + "..."
    expected = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{path}: found {found}, expected {expected}"


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
            # A part that is no field is the tag of a union that pydantic put into the path.
            inner.append(fields[part] if part in fields else found)
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
