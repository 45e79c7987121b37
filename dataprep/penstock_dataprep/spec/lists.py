"""Define which events of one key are collected into lists: each row's history, or whole sequences."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from penstock_shared.strict import Strict, nearest

if TYPE_CHECKING:
    from penstock_dataprep.spec.columns import ColumnSpec
    from penstock_dataprep.spec.spec import Spec

LONGEST_LIST = 2**16 - 1
MOST_KEPT = 2**20
HISTORY_PREFIX = "history_"


class ListSpec(Strict):
    """Collect `columns` of the rows that share the value of `key`, by time, into lists of at most `length`."""

    key: str
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    length: Annotated[int, Field(ge=1, le=LONGEST_LIST)]


class HistorySpec(ListSpec):
    """Give each row the latest `length` rows of its key from before its time, oldest first, as `history_<column>`.

    Rows at the very time of a row are not in its history, nor it in theirs. Every earlier row counts, whatever its
    split: specs where a row of a later split could come before a row of an earlier one are refused.
    The latest `kept` rows of each key are kept with the version, so that rows appended to it get their histories: by
    default twice `length`, so that some may come late; 0 for a version that nothing is appended to.
    """

    kept: Annotated[int, Field(ge=0, le=MOST_KEPT)] | None = None

    @property
    def tail_length(self) -> int:
        """Return how many events of each key are kept at most."""
        return 2 * self.length if self.kept is None else self.kept


class SequencesSpec(ListSpec):
    """Make a row of each run of at most `length` rows of one key and split, by time, ties by the hash of the row.

    Runs are cut from the end, so that the last one of a key and split is full where any is. Columns that are neither
    the key nor listed are not written. A build that is appended makes runs of its own rows alone.
    """


def list_columns(spec: "Spec") -> dict[str, str]:
    """Return the column that each list feature is collected from, by the feature's name; nothing for plain rows."""
    if spec.history is not None:
        return {HISTORY_PREFIX + column: column for column in spec.history.columns}
    return {} if spec.sequences is None else {column: column for column in spec.sequences.columns}


def list_faults(spec: "Spec") -> Iterator[str]:
    """Yield what is wrong with `history`, `examples` and `sequences` beside the other parts of a spec."""
    if (spec.examples == "sequences") != (spec.sequences is not None):
        found, missing = ("examples", "sequences") if spec.sequences is None else ("sequences", "examples: sequences")
        yield f"{found}: expected {missing} beside it, with key, columns and length under sequences"
    if spec.history is not None and spec.sequences is not None:
        yield "history: expected no sequences beside it: a row is one event with its history, or a sequence of events"
    for place, rules in (("history", spec.history), ("sequences", spec.sequences)):
        if rules is not None:
            yield from _faults(spec, place, rules)
    if spec.history is not None:
        if 0 < spec.history.tail_length < spec.history.length:
            yield f"history.kept: found {spec.history.kept}, expected 0, or at least length, {spec.history.length}"
        yield from _name_faults(spec.history, spec.columns)
        yield from _leak_faults(spec, spec.history)


def _faults(spec: "Spec", place: str, rules: ListSpec) -> Iterator[str]:
    with_tokens = [name for name, column in spec.columns.items() if column.vocabulary is not None]
    if rules.key not in with_tokens:
        yield (
            f"{place}.key: found {rules.key!r}, expected a column with a vocabulary; {nearest(rules.key, with_tokens)}"
        )
    elif spec.columns[rules.key].null_policy == "keep":
        yield f"columns.{rules.key}.null: found keep, expected reject or default: each row needs a {place}.key"
    time = spec.role("time")
    if time is None:
        yield f"{place}: needs a column with role time; for a log in the order of time, one with from: $row"
    elif spec.columns[time].null_policy == "keep":
        yield f"columns.{time}.null: found keep, expected reject or default: {place} goes by time"
    for at, name in enumerate(rules.columns):
        column = spec.columns.get(name)
        if column is None:
            yield f"{place}.columns: found {name!r}, expected a column; {nearest(name, spec.columns)}"
        elif name == rules.key or name in rules.columns[:at]:
            yield f"{place}.columns: found {name!r}, expected columns other than the key, each once"
        elif column.vocabulary is None and column.null_policy == "keep":
            yield f"columns.{name}.null: found keep, expected reject or default: lists of numbers hold no nulls"


def _name_faults(rules: HistorySpec, columns: Mapping[str, "ColumnSpec"]) -> Iterator[str]:
    for name in rules.columns:
        if HISTORY_PREFIX + name in columns:
            yield f"columns: {HISTORY_PREFIX}{name} is the name of the history of {name}; rename the column"


def _leak_faults(spec: "Spec", rules: HistorySpec) -> Iterator[str]:
    """Yield a fault where an event of a later split may come before a row of an earlier one in the order of a key."""
    safe = {"time": rules.key, "leave_last": spec.role("user"), "entity_hash": getattr(spec.split, "column", None)}
    if rules.key != (wanted := safe[spec.split.by]):
        yield (
            f"history.key: found {rules.key!r}, expected {wanted!r}, by which split {spec.split.by} goes: by any other "
            "key, a row of train could have rows of test in its history"
        )
