"""Turn what a model raises into an error that names the part of it, the layer and the features that went in."""

import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import tensorflow as tf

from penstock_shared.errors import PenstockError, UserMistake
from penstock_training.fitting.workdir import Workdir
from penstock_training.storage import OPS, write_text

FAULT_NAME = "fault.txt"
# What TensorFlow and Keras raise says by itself what it is about; of other errors the name is part of what they say.
TELLING_ERRORS = (ValueError, TypeError, tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError)
MODEL_ERRORS = (
    *TELLING_ERRORS,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
)

NODE = re.compile(r"\{\{node ([^}]+)\}\}")
KERAS_LAYER = re.compile(r"calling layer '([^']+)'|Input \d+ of layer \"([^\"]+)\"")
NODE_IN_TEXT = re.compile(r" for '\{\{node .*?\}\} = .*?'(?= with|$)", re.DOTALL)
PLACE = re.compile(r'File "([^"]+)", line (\d+), in (\w+)')
LIBRARIES = ("site-packages", "dist-packages")
# Lines that start so and what follows them repeat what is said elsewhere.
TAILS = ("Call arguments received", "Arguments received", "[[{{node", "Stack trace")
FRAMES = ("in user code", "Graph execution error", "Detected at node", "File ", "<stack traces")


class ModelFault(PenstockError):
    """Say that a model cannot be built, or its graph not be made."""


class RunTimeFault(ModelFault):
    """Say that a model's graph was made, and failed on a batch."""


class Parts:
    """Remember which part of a model's graph a fault came from, and what went in."""

    def __init__(self, model: str) -> None:
        """Take the model's name for messages."""
        self._model = model
        self._given: dict[str, str] = {}
        self._failed: tuple[str, Exception] | None = None

    @contextmanager
    def part(self, name: str, given: Mapping[str, tf.Tensor | None], attributes: Sequence[str] = ()) -> Iterator[None]:
        """Make the ops of one part, called `name` in the graph too, which takes `given` tensors by feature name."""
        described = [
            f"{key} {value.dtype.name} {list(value.shape)}" for key, value in given.items() if value is not None
        ]
        self._given[name] = ", ".join(described) + (
            f" and the attributes {', '.join(attributes)}" if attributes else ""
        )
        with tf.name_scope(name):
            try:
                yield
            except MODEL_ERRORS as fault:
                self._failed = self._failed or (name, fault)
                raise

    def blamed(self, fault: Exception) -> ModelFault | None:
        """Return the error for people for what making or running the graph raised, None where no part of it did."""
        if self._failed is not None:
            name, cause = self._failed
            return ModelFault(self._explained(name, _named(cause), str(fault)))
        if not isinstance(fault, MODEL_ERRORS):
            return None
        node = NODE.search(str(fault))
        scopes = re.sub(r"_\d+(?=/|$)", "", node[1]).split("/") if node else []
        name = next((scope for scope in scopes if scope in self._given), "")
        if not name:
            return None
        return RunTimeFault(self._explained(name, str(fault), str(fault)))

    def _explained(self, name: str, cause: str, whole: str) -> str:
        layer = KERAS_LAYER.search(cause)
        where = f"model {self._model}, {name}" + (f", layer {layer[1] or layer[2]!r}" if layer else "")
        return f"{where}: {_said(cause)}{_place(whole)}\n  given: {self._given[name] or 'nothing'}"


@contextmanager
def blaming(what: str, given: str) -> Iterator[None]:
    """Raise ModelFault for what a model raises outside of a graph, saying `what` failed and what it was given."""
    try:
        yield
    except MODEL_ERRORS as fault:
        frames = "".join(traceback.format_tb(fault.__traceback__))
        raise ModelFault(f"{what}: {_said(_named(fault))}{_place(frames)}\n  given: {given}") from fault


@contextmanager
def traceback_kept(workdir: Workdir) -> Iterator[None]:
    """Write the traceback of a ModelFault to the workdir, for who wrote the model, and say so in its message."""
    try:
        yield
    except ModelFault as fault:
        path = workdir.path(FAULT_NAME)
        try:
            write_text(path, "".join(traceback.format_exception(fault.__cause__ or fault)))
        except (tf.errors.OpError, UserMistake):
            # A run may be exported from where nothing can be written.
            raise fault from fault.__cause__
        raise type(fault)(f"{fault}\n  traceback: {path}") from fault.__cause__


def _named(fault: Exception) -> str:
    return str(fault) if isinstance(fault, TELLING_ERRORS) else f"{type(fault).__name__}: {fault}"


def _said(message: str) -> str:
    """Return what a message of TensorFlow or Keras says, without the frames, arguments and nodes around it."""
    said = []
    for line in OPS.sub("", NODE_IN_TEXT.sub("", message)).splitlines():
        stripped = line.strip()
        if stripped.startswith(TAILS):
            break
        if stripped and not stripped.startswith(FRAMES):
            said.append(stripped)
    return " ".join(said)


def _place(frames: str) -> str:
    """Return the last line of code outside of libraries that a traceback names."""
    own = [place for place in PLACE.findall(frames) if not any(library in place[0] for library in LIBRARIES)]
    return f" ({own[-1][0]}:{own[-1][1]}, in {own[-1][2]})" if own else ""
