"""Assign rows to splits: by time, by each user's last rows, or by the hash of an entity."""

import math
import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from penstock_dataprep.order.hashing import mix64
from penstock_dataprep.rows.staged import Staged, StagedRows, read_tokens
from penstock_dataprep.spec.spec import EntityHashSplit, LeaveLastSplit, Spec, SplitName, SplitSpec, TimeSplit
from penstock_dataprep.statistics.histogram import Histogram
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.coding import NULL_WORD
from penstock_dataprep.vocabularies.token_index import ABSENT, TokenIndex
from penstock_shared.errors import DataRefused

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
ENTITY_SALT = np.uint64(0x5350_4C49_54)  # so that a split does not follow the out-of-vocabulary bucket


class Splitter(Protocol):
    """Send each row of a staged batch to a split."""

    def assign(self, staged: Staged, rows: StagedRows, scratch: Scratch) -> np.ndarray:
        """Return the uint8 position in SPLITS of each row."""

    def rule(self, split: str) -> str:
        """Return the rule of one split in words, for the manifest."""


@dataclass(frozen=True)
class TimeSplitter:
    """Cut at two moments of the `column`: rows at or after a cut belong to the later split."""

    column: str
    validation_from: int
    test_from: int

    def assign(self, staged: Staged, rows: StagedRows, scratch: Scratch) -> np.ndarray:
        """Return the split of each row by its time."""
        times = rows.columns[self.column].numbers
        return (times >= self.validation_from).astype(np.uint8) + (times >= self.test_from)

    def rule(self, split: str) -> str:
        """Return the interval of times."""
        return {
            "train": f"{self.column} < {self.validation_from}",
            "validation": f"{self.validation_from} <= {self.column} < {self.test_from}",
            "test": f"{self.column} >= {self.test_from}",
        }[split]


def interval(rule: str, column: str) -> tuple[float, float] | None:
    """Return (first, end) of the times that a rule of TimeSplitter says, None for a rule of another kind."""
    found = re.fullmatch(rf"(?:(-?\d+) <= )?{re.escape(column)}(?: (<|>=) (-?\d+))", rule)
    if found is None:
        return None
    first, sign, last = found.groups()
    return (int(last), math.inf) if sign == ">=" else (-math.inf if first is None else int(first), int(last))


@dataclass(frozen=True)
class EntityHashSplitter:
    """Cut the circle of hashes into arcs, in the order of SPLITS."""

    column: str
    fractions: tuple[float, float, float]

    def assign(self, staged: Staged, rows: StagedRows, scratch: Scratch) -> np.ndarray:
        """Return the split of each row by its entity."""
        _, hashes = read_tokens(staged, self.column, scratch)
        salted = np.append(hashes, NULL_WORD) ^ ENTITY_SALT
        mix64(salted)
        # The top 53 bits are a float64 in [0, 1) without rounding.
        place = (salted >> np.uint64(11)).astype(np.float64) / 2**53
        edges = np.cumsum(self.fractions)[:2]
        # The fractions' sum may miss 1 by rounding: the last split takes the rest.
        edges[np.flatnonzero(self.fractions)[-1] :] = 1.0
        return np.searchsorted(edges, place, side="right").astype(np.uint8)[rows.columns[self.column].numbers]

    def rule(self, split: str) -> str:
        """Return the share of entities."""
        return f"{self.fractions[SPLITS.index(split)]:g} of the values of {self.column}, by hash"


@dataclass(frozen=True)
class LeaveLastSplitter:
    """Compare each row with its user's cutoffs (see leave_last.py)."""

    user: str
    time: str
    n: int
    validation_n: int

    def assign(self, staged: Staged, rows: StagedRows, scratch: Scratch) -> np.ndarray:
        """Return the split of each row by its order among its user's rows."""
        _, hashes = read_tokens(staged, self.user, scratch)
        position = TokenIndex(scratch, "cutoffs/index", bits=0).find(hashes)
        codes = rows.columns[self.user].numbers
        at = np.append(position, ABSENT)[codes]
        times, places = rows.columns[self.time].numbers, rows.place
        late = np.zeros(staged.rows, np.uint8)
        for cut in ("validation", "test"):
            cut_times = scratch.map_shared(f"cutoffs/{cut}.times", "<i8")[at]
            cut_places = scratch.map_shared(f"cutoffs/{cut}.places", "<u8")[at]
            late += (times > cut_times) | ((times == cut_times) & (places >= cut_places))
        return late

    def rule(self, split: str) -> str:
        """Return which of a user's rows these are."""
        order = f"of each value of {self.user} by {self.time}, ties by hash"
        return {
            "train": f"all but the last {self.n + self.validation_n} rows {order}",
            "validation": f"the last {self.validation_n} rows before the test rows {order}",
            "test": f"the last {self.n} rows {order}",
        }[split]


def make_splitter(spec: Spec, times: Histogram | None) -> Splitter:
    """Return the splitter of a spec, its cuts computed from the times seen.

    Raises DataRefused when no cut leaves rows on both sides.
    """
    rule: SplitSpec = spec.split
    if isinstance(rule, TimeSplit):
        column = spec.role("time") or ""
        test_from = _cut(times, rule.test_fraction, column)
        validation_from = _cut(times, rule.test_fraction + rule.validation_fraction, column)
        return TimeSplitter(column, min(validation_from, test_from), test_from)
    if isinstance(rule, LeaveLastSplit):
        return LeaveLastSplitter(spec.role("user") or "", spec.role("time") or "", rule.n, rule.validation_n)
    assert isinstance(rule, EntityHashSplit)
    train, validation, test = (rule.fractions.get(name, 0.0) for name in SPLITS)
    return EntityHashSplitter(rule.column, (train, validation, test))


def wanted_splits(rule: SplitSpec) -> tuple[str, ...]:
    """Return the names of the splits a rule makes, empty ones included."""
    if isinstance(rule, TimeSplit):
        wanted = {"validation": rule.validation_fraction > 0, "test": rule.test_fraction > 0}
    elif isinstance(rule, LeaveLastSplit):
        wanted = {"validation": rule.validation_n > 0, "test": True}
    else:
        wanted = {name: name in rule.fractions for name in ("validation", "test")}
    return ("train", *(name for name, is_wanted in wanted.items() if is_wanted))


def _cut(times: Histogram | None, fraction: float, column: str) -> int:
    """Return the start of the bucket that leaves the share of rows at or after it closest to `fraction`."""
    if times is None or len(times.counts) == 0:
        raise DataRefused(f"split: no row has a {column}")
    if fraction == 0:
        return (int(times.buckets[-1]) + 1) << times.shift
    if len(times.counts) == 1:
        raise DataRefused(f"split: {column} is the same in every row, so no time separates train from test")
    from_bucket = np.cumsum(times.counts[::-1])[::-1] / times.counts.sum()
    # The first bucket stays in train: a dataset without training rows serves nobody.
    best = 1 + int(np.argmin(np.abs(from_bucket[1:] - fraction)))
    return int(times.buckets[best]) << times.shift
