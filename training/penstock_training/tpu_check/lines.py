"""Find the line of a program that an op was made by."""

import linecache
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

# Code of others, and the frame around the step, say nothing about whose line it is.
OTHERS = tuple({sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib")})
OWN_FRAME = str(Path(__file__).parent)
GRADIENT = "gradient_tape/"


@dataclass(frozen=True)
class Line:
    """Hold a place in a program, its text, and whether the op is of the gradient of what is there."""

    path: str
    number: int
    text: str
    gradient: bool = False

    def __str__(self) -> str:
        """Return path:number, the path relative to where the program runs if it lies there."""
        path = Path(self.path)
        here = Path.cwd()
        return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{self.number}"


class Lines:
    """Find lines of the ops of a graph; those of a gradient are the lines it is the gradient of."""

    def __init__(self, operations: list[tf.Operation]) -> None:
        """Index the graph's ops by name."""
        self._by_name = {op.name: op for op in operations}

    def of(self, op: tf.Operation) -> Line | None:
        """Return the innermost line that is of neither TensorFlow nor this check, None where there is none."""
        source = self._forward(op)
        for frame in reversed(list((source or op).traceback or ())):
            if not frame.filename.startswith((*OTHERS, OWN_FRAME, "<")):
                text = linecache.getline(frame.filename, frame.lineno).strip()
                return Line(frame.filename, frame.lineno, text, source is not None)
        return None

    def _forward(self, op: tf.Operation) -> tf.Operation | None:
        """Return the op that `op` is of the gradient of: gradient_tape names it, with an op more at the end."""
        if not op.name.startswith(GRADIENT):
            return None
        parts = op.name.removeprefix(GRADIENT).split("/")
        for stop in range(len(parts), 0, -1):
            if (found := self._by_name.get("/".join(parts[:stop]))) is not None:
                return found
        return None
