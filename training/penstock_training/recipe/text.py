"""Read YAML as plain values, refusing what JSON cannot express and keys that come twice, and write recipes back."""

import json
import re
from typing import Any

import yaml

from penstock_shared.errors import UserMistake
from penstock_training.recipe.schema import Recipe


def parse_yaml(text: str | bytes, where: str) -> Any:
    """Return the value a YAML text holds; `where` names the text. Raises UserMistake on what is no such value."""
    try:
        value = yaml.load(text, Loader=_Yaml)
        return json.loads(json.dumps(value, allow_nan=False))
    except yaml.YAMLError as fault:
        raise UserMistake(f"{where}: not YAML: {fault}") from None
    except UnicodeDecodeError as fault:
        raise UserMistake(f"{where}: not UTF-8 text: {fault}") from None
    except (TypeError, ValueError, RecursionError) as fault:
        raise UserMistake(f"{where}: holds a value that JSON cannot express ({fault})") from None


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML, every default written out."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    return text


class _Yaml(yaml.SafeLoader):
    """Load YAML, reading 1e-3 as a number, as YAML 1.2 does and PyYAML does not, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; raises ConstructorError on a key that comes twice, of which PyYAML takes the last."""
        written = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for place, key in enumerate(written):
            if key in written[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} comes twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _resolvers() -> dict[Any, Any]:
    number = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
    inherited = {first: list(pairs) for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    for first in "-+.0123456789":
        inherited.setdefault(first, []).insert(0, ("tag:yaml.org,2002:float", number))
    return inherited


_Yaml.yaml_implicit_resolvers = _resolvers()
