"""Read YAML as plain values, refusing keys that come twice."""

from typing import Any

import yaml


def read_yaml(text: str) -> Any:
    """Return what a text says. Raises YAMLError, also for a key that comes twice, of which PyYAML takes the last."""
    return yaml.load(text, _Yaml)


class _Yaml(yaml.SafeLoader):
    """Load YAML, no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping."""
        written: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in written:
                    place = key.start_mark
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} comes twice", place)
                written.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping
