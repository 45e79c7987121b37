"""Lay documents over one another, remembering where each value came from.

Mappings are merged key by key, except where both have a `kind` and it differs: then the upper one replaces the lower
one whole, since the keys of one kind mean nothing to another. All else, lists included, is replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[Any, ...]


@dataclass(frozen=True)
class Layer:
    """Hold a document of plain values and, by path, the names of the places its values came from.

    A value without a name of its own has that of the closest one around it; the document's own path is ().
    """

    document: dict[str, Any]
    origins: Mapping[Path, str]

    def origin(self, path: Path) -> str:
        """Return the name of the place that the value at `path` came from, or would have had to."""
        return next(self.origins[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.origins)

    def origins_of(self, path: Path) -> str:
        """Return the names of all places that a value at `path` is put together from, the uppermost first."""
        around = self.origin(path)
        inside = [name for held, name in self.origins.items() if path and held[: len(path)] == path]
        return " over ".join(dict.fromkeys([*reversed(inside), around]))


def lay_over(lower: Layer, upper: Layer) -> Layer:
    """Return the document of both, the upper one's values where both have one."""
    # Values named by the document around them keep that name, while the whole is named after both.
    origins: dict[Path, str] = {(key,): lower.origin((key,)) for key in lower.document} | dict(lower.origins)
    origins[()] = f"{upper.origin(())} over {lower.origin(())}"
    return Layer(_merged(lower.document, upper, (), upper.document, origins), origins)


def flatten(document: Any, path: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by dotted key; lists are values."""
    if not isinstance(document, dict) or not document:
        return {path: document}
    return {
        key: value
        for name, inner in document.items()
        for key, value in flatten(inner, f"{path}.{name}".strip(".")).items()
    }


def _merged(
    below: dict[str, Any], upper: Layer, place: Path, above: dict[str, Any], origins: dict[Path, str]
) -> dict[str, Any]:
    """Return `below` with `above`, which is at `place` of `upper`, over it; brings `origins` up to date."""
    merged = dict(below)
    for key, value in above.items():
        path, old = (*place, key), below.get(key)
        under = old if isinstance(old, dict) and isinstance(value, dict) and not _differ_in_kind(old, value) else None
        if under is None:
            for replaced in [held for held in origins if held[: len(path)] == path]:
                del origins[replaced]
            origins[path] = upper.origin(path)
        merged[key] = _merged(under or {}, upper, path, value, origins) if isinstance(value, dict) else value
    return merged


def _differ_in_kind(below: dict[str, Any], above: dict[str, Any]) -> bool:
    return "kind" in below and "kind" in above and below["kind"] != above["kind"]
