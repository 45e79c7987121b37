"""Measure a sample: what its rows would become, how often tokens occur, what is null, which unit its times have."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.rows.transform import transform_valid
from penstock_dataprep.rows.validate import validate
from penstock_dataprep.sources import SourceBatch
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.statistics.facts import Facts, reasons
from penstock_dataprep.transforms.time_part import TimePartRule

# The unit of a time by its size: seconds, milliseconds, microseconds and nanoseconds from 2001 to 2100.
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EARLIEST_SECONDS, LATEST_SECONDS = 978_307_200, 4_102_444_800


@dataclass(frozen=True)
class Tokens:
    """Hold how often tokens occur in a sample: `distinct` of `values`, of which `once` come once, `top` most."""

    values: int = 0
    distinct: int = 0
    once: int = 0
    top: str = ""
    top_count: int = 0

    @property
    def top_share(self) -> float:
        """Return the share of the values that the commonest token has."""
        return self.top_count / max(1, self.values)


@dataclass(frozen=True)
class Sampled:
    """Hold what a sample shows: `nulls` by source column, `tokens` by vocabulary and by column, `units` of times."""

    rows: int = 0
    facts: Facts = field(default_factory=Facts)
    rejected: Counter[str] = field(default_factory=Counter)
    nulls: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, Tokens] = field(default_factory=dict)
    units: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def valid_share(self) -> float:
        """Return the share of the rows that break no rule, 1 of no rows."""
        return 1 - self.rejected.total() / self.rows if self.rows else 1.0


def measure_sample(batches: Iterable[SourceBatch], targets: tuple[Target, ...]) -> Sampled:
    """Validate and transform the rows of a sample as a build does, and measure them."""
    facts, rejected, nulls, rows = Facts(), Counter[str](), Counter[str](), 0
    columns: dict[str, list[pa.Array]] = {target.name: [] for target in targets}
    times: dict[str, list[pa.Array]] = {target.name: [] for target in targets if _is_time(target)}
    for source in batches:
        valid, rejects = validate(source, targets)
        made = transform_valid(valid, targets)
        facts = facts.merge(Facts.of(made, rejects, targets))
        rejected += reasons(rejects)
        rows += source.batch.num_rows + len(source.malformed)
        for name in {target.source for target in targets}:
            nulls[name] += _null_count(source.batch.column(name))
        for name, chunks in times.items():
            chunks.append(valid.column(name))
        for target in targets:
            column = made.column(target.name)
            columns[target.name].append(column.flatten() if _is_list(column.type) else column)
    if rows == 0:
        return Sampled()
    tokens: dict[str, Tokens] = {}
    for name in {target.vocabulary for target in targets if target.vocabulary is not None}:
        sharing = [target.name for target in targets if target.vocabulary == name]
        tokens[name] = count_tokens([chunk for column in sharing for chunk in columns[column]])
    units = {name: units_of(_numbers(chunks)) for name, chunks in times.items()}
    return Sampled(rows, facts, rejected, dict(nulls), tokens, units)


def count_tokens(chunks: list[pa.Array]) -> Tokens:
    """Count the tokens of a column that are not null."""
    values = pa.chunked_array(chunks).drop_null() if chunks else pa.chunked_array([pa.array([], pa.string())])
    if len(values) == 0:
        return Tokens()
    counted = pc.value_counts(values.combine_chunks())
    counts = counted.field("counts").to_numpy()
    at = int(np.argmax(counts))
    top = counted.field("values")[at]
    return Tokens(len(values), len(counts), int((counts == 1).sum()), str(top.as_py()), int(counts[at]))


def units_of(times: np.ndarray) -> dict[str, float]:
    """Return the share of the values that are times from 2001 to 2100 in each unit, `none` for the others."""
    if len(times) == 0:
        return {}
    shares = {
        unit: float(((times >= EARLIEST_SECONDS * scale) & (times < LATEST_SECONDS * scale)).mean())
        for unit, scale in UNITS.items()
    }
    found = {unit: share for unit, share in shares.items() if share}
    rest = 1 - sum(found.values())
    return {**found, "none": rest} if rest > 1e-9 else found


def _is_time(target: Target) -> bool:
    """Tell whether a column holds integers that stand for moments."""
    return target.role == "time" or (isinstance(target.transform, TimePartRule) and target.taken == "int64")


def _numbers(chunks: list[pa.Array]) -> np.ndarray:
    return np.concatenate([chunk.drop_null().to_numpy(zero_copy_only=False) for chunk in chunks])


def _null_count(column: pa.Array) -> int:
    nulls: int = column.null_count
    return nulls + (int(pc.sum(pc.is_nan(column)).as_py() or 0) if pa.types.is_floating(column.type) else 0)


def _is_list(found: pa.DataType) -> bool:
    return bool(pa.types.is_list(found) or pa.types.is_fixed_size_list(found))
