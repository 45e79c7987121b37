"""Collect every op of a step that a TPU refuses, with the reason and the line that made it."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from penstock_training.tpu_check.graphs import graphs
from penstock_training.tpu_check.kernels import HANDLES, TPU_TYPES, is_compiled
from penstock_training.tpu_check.lines import Line, Lines

PYTHON_OPS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
LOSSY = ("float64", "complex128")


@dataclass(frozen=True)
class Refusal:
    """Hold what a TPU refuses of a line: the types of its ops, why, and what the first of them makes."""

    ops: tuple[str, ...]
    reason: str
    line: Line | None
    makes: str


def refusals(graph: Any) -> list[Refusal]:
    """Return what a TPU refuses of a graph and the functions it calls: one for each line and reason."""
    found: dict[tuple[str, Line | None], list[tf.Operation]] = {}
    for part in graphs(graph):
        operations = part.get_operations()
        lines, bent = Lines(operations), _Bent()
        for op in operations:
            reason = refusal(op, bent.begins(op))
            if reason is not None:
                found.setdefault((reason, lines.of(op)), []).append(op)
    return [
        Refusal(tuple(dict.fromkeys(op.type for op in ops)), reason, line, _makes(ops[0]))
        for (reason, line), ops in found.items()
    ]


def refusal(op: tf.Operation, begins_unknown: bool) -> str | None:
    """Return why a TPU refuses an op, or None; `begins_unknown` says that it is the first without a known shape."""
    if op.type in PYTHON_OPS:
        return "calls Python, which is on the host"
    inputs = [tensor.dtype.base_dtype.name for tensor in op.inputs]
    outputs = [tensor.dtype.base_dtype.name for tensor in op.outputs]
    if "string" in (*inputs, *outputs):
        # A constant is not at fault: who takes it is.
        return None if op.type == "Const" else "works on strings, which are on the host"
    for name in (*inputs, *outputs):
        if name not in (*TPU_TYPES, *HANDLES, *LOSSY):
            return f"works on {name}, a type that TPUs do not have"
    if not is_compiled(op):
        types = ", ".join(dict.fromkeys(inputs or outputs))
        return f"has no kernel in XLA{' for ' if types else ''}{types}"
    for name in outputs:
        if name in LOSSY and name not in inputs:
            return f"makes {name}, which a TPU replaces by pairs of float32, of a smaller range"
    if begins_unknown:
        return "makes a shape that depends on values, where a TPU needs it before"
    return None


class _Bent:
    """Follow shapes that depend on values through a graph, in the order of its ops, to tell causes from followers."""

    def __init__(self) -> None:
        self._bent: set[str] = set()

    def begins(self, op: tf.Operation) -> bool:
        """Return whether the op makes an unknown shape where those it takes are known; remember what it makes."""
        follows = any(tensor.name in self._bent for tensor in op.inputs)
        unknown = [tensor for tensor in op.outputs if _is_numbers(tensor) and not tensor.shape.is_fully_defined()]
        self._bent.update(tensor.name for tensor in unknown)
        if follows:
            # Sizes reckoned from such a shape carry it on, though their own shapes are known.
            self._bent.update(
                tensor.name for tensor in op.outputs if tensor.dtype.is_integer and tensor.shape.rank in (0, 1)
            )
        # A function's input is what its caller makes of it.
        return bool(unknown) and not follows and op.type != "Placeholder"


def _is_numbers(tensor: tf.Tensor) -> bool:
    return tensor.dtype.base_dtype.name not in HANDLES


def _makes(op: tf.Operation) -> str:
    return ", ".join(f"{tensor.dtype.base_dtype.name}{_shape(tensor)}" for tensor in op.outputs) or "nothing"


def _shape(tensor: tf.Tensor) -> str:
    if tensor.shape.rank is None:
        return "[...]"
    return f"[{', '.join('?' if size is None else str(size) for size in tensor.shape)}]"
