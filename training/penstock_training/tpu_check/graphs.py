"""Walk a graph and the functions it calls."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf


def graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and, once each, those of the functions that its ops call, however deep."""
    seen, waiting = set(), [graph]
    while waiting:
        part = waiting.pop(0)
        yield part
        for op in part.get_operations():
            for name in _called(op):
                if name not in seen:
                    seen.add(name)
                    waiting.append(part._get_function(name).graph)


def _called(op: tf.Operation) -> list[str]:
    names = []
    for value in op.node_def.attr.values():
        names += [value.func.name, *(function.name for function in value.list.func)]
    return [name for name in names if name]
