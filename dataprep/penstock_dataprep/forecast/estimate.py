"""Estimate, from what is known of a source and a sample of it, the tokens, bytes and shards of its dataset."""

import math
from dataclasses import dataclass

from penstock_dataprep.forecast.line import Line
from penstock_dataprep.forecast.sampled import Sampled, Tokens
from penstock_dataprep.order.shuffle import shard_count
from penstock_dataprep.order.split import SPLITS
from penstock_dataprep.spec.columns import VocabularySpec
from penstock_dataprep.spec.lists import ListSpec, list_columns
from penstock_dataprep.spec.spec import Spec, SplitSpec
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.statistics.facts import FeatureFacts
from penstock_dataprep.vocabularies.token_index import BYTES_PER_KEY
from penstock_shared.layout import WIDTH_BYTES, Column, Storage, narrowest_integer, narrowest_length, scalar_row_bytes
from penstock_shared.tokens import first_token_id

LARGEST_ID = 2**31 - 1
KEPT_KEY_BYTES = 12  # of a key whose events are kept: its hash, and how many were seen


def distinct_in(tokens: Tokens, rows_sampled: int, rows: float) -> float:
    """Return how many distinct tokens all rows have, from those of a sample.

    It is the estimator of Charikar et al. (2000), whose error is within a factor of the root of rows / rows_sampled:
    tokens seen once stand for the root of the scale each, all others for themselves.
    """
    if not tokens.values or rows <= rows_sampled:
        return tokens.distinct
    return tokens.distinct - tokens.once + tokens.once * math.sqrt(rows / rows_sampled)


def distinct_at_most(tokens: Tokens, rows_sampled: int, rows: float) -> float:
    """Return how many distinct tokens all rows would have were each that came once in the sample ever new."""
    if not tokens.values or rows <= rows_sampled:
        return tokens.distinct
    return tokens.distinct - tokens.once + tokens.once * rows / rows_sampled


def split_shares(split: SplitSpec, rows_per_user: float) -> dict[str, float]:
    """Return the share of the rows that each split gets, those it does not have left out."""
    if split.by == "entity_hash":
        return {name: split.fractions[name] for name in SPLITS if name in split.fractions}
    if split.by == "time":
        test, validation = split.test_fraction, split.validation_fraction
    else:
        # A user with too few rows stays in train, so no split gets most of the rows.
        test, validation = min(0.5, split.n / rows_per_user), min(0.25, split.validation_n / rows_per_user)
    shares = {"train": 1 - test - validation, "validation": validation, "test": test}
    return {name: share for name, share in shares.items() if share > 0}


@dataclass(frozen=True)
class Size:
    """Hold the estimated size of a dataset: `values_per_row` counts those of lists, `lines` is the arithmetic."""

    rows: float
    values_per_row: float
    bytes: float
    lines: tuple[Line, ...]


def estimate(
    spec: Spec,
    outputs: tuple[Target, ...],
    vocabularies: dict[str, tuple[VocabularySpec, tuple[str, ...]]],
    sampled: Sampled,
    rows: float,
    rows_from: str,
) -> Size:
    """Return the size of the dataset of `rows` rows read; without a sample, columns are taken to be 4 bytes wide."""
    valid = rows * sampled.valid_share
    valid_from = f"{rows:,.0f} x {sampled.valid_share:.4f} valid of {sampled.rows:,} sampled"
    lines = [
        Line("rows read", rows, "rows", rows_from),
        Line("rows valid", valid, "rows", valid_from if sampled.rows else "all: nothing was sampled"),
    ]
    tokens: dict[str, float] = {}
    vocabulary_bytes = 0.0
    for name, (rules, _) in vocabularies.items():
        tokens[name], found = _vocabulary(name, rules, sampled, valid)
        vocabulary_bytes += sum(line.value for line in found if line.unit == "bytes")
        lines += found
    user = spec.role("user")
    rows_per_user = max(1.0, valid / max(1.0, tokens.get(user, 1.0))) if user else 1.0
    longest, mean_list = _list_lengths(spec, valid, tokens)
    columns, list_bytes, values = _columns(spec, outputs, sampled, tokens, vocabularies, longest, mean_list)
    is_sequences = spec.sequences is not None
    written = valid / max(1.0, mean_list) if is_sequences else valid
    fixed = scalar_row_bytes(columns)
    row_bytes = fixed + list_bytes
    unit = "sequence" if is_sequences else "row"
    if spec.list_rules is not None:
        lines.append(
            Line(
                "mean list",
                mean_list,
                "events",
                f"no longer than {spec.list_rules.length:,}, by rows per token of the key",
            )
        )
    lines += [
        Line(
            f"bytes a {unit}",
            row_bytes,
            "bytes a row",
            f"{fixed:.2f} fixed + {list_bytes:.2f} in lists: {_widths(columns)}",
        ),
        Line("dataset", written * row_bytes, "bytes", f"{written:,.0f} {unit}s x {row_bytes:.2f} bytes, layout blocks"),
    ]
    kept = _kept_events(spec, sampled, columns, valid, tokens)
    lines += kept
    shares = split_shares(spec.split, rows_per_user)
    for name, share in shares.items():
        held = round(written * share)
        shards = shard_count(held, columns, list_bytes, spec.output.shard_bytes, spec.output.rows_per_block)
        how = f"{written:,.0f} x {share:.3f} = {held:,} {unit}s, shard_bytes {spec.output.shard_bytes:,}"
        lines.append(Line(f"shards of {name}", shards, "shards", how))
    kept_bytes = sum(line.value for line in kept if line.unit == "bytes")
    return Size(valid, values, written * row_bytes + kept_bytes, tuple(lines))


def _vocabulary(name: str, rules: VocabularySpec, sampled: Sampled, rows: float) -> tuple[float, list[Line]]:
    if rules.encoding == "hash":
        return 0.0, [Line(f"vocabulary {name}", rules.oov_buckets, "buckets", "encoding: hash keeps no tokens")]
    if not sampled.rows:
        return 0.0, [Line(f"vocabulary {name}", 0.0, "tokens", "not known, for nothing was sampled, so taken as none")]
    seen, of = sampled.tokens.get(name, Tokens()), sampled.rows
    found, most = distinct_in(seen, of, rows), distinct_at_most(seen, of, rows)
    how = f"{seen.distinct:,} in the sample, {seen.once:,} of them once"
    if rows > sampled.rows:
        how += f" x the root of {rows:,.0f} / {sampled.rows:,}; at least {seen.distinct:,}, at most {most:,.0f}"
    if rules.min_count > 1:
        how += f"; before min_count {rules.min_count}"
    if rules.max_size is not None and found > rules.max_size:
        found, how = float(rules.max_size), f"max_size; {how}"
    return found, [
        Line(f"vocabulary {name}", found, "tokens", how),
        Line(
            f"lookup table {name}",
            found * BYTES_PER_KEY,
            "bytes",
            f"{found:,.0f} tokens x {BYTES_PER_KEY} bytes, mapped from disk once a machine",
        ),
    ]


def _list_lengths(spec: Spec, rows: float, tokens: dict[str, float]) -> tuple[int, float]:
    """Return (longest, mean) of the lists of events, (0, 0) where there are none."""
    rules = spec.list_rules
    if rules is None:
        return 0, 0.0
    keys = _keys(spec, rules, tokens)
    per_key = rows / keys if keys else float(rules.length)
    # Of each key's rows, the first has none before it and the last all the others.
    mean = per_key if spec.sequences is not None else (per_key - 1) / 2
    return rules.length, max(0.0, min(float(rules.length), mean))


def _keys(spec: Spec, rules: ListSpec, tokens: dict[str, float]) -> float:
    """Return how many values the key of lists has."""
    column = spec.columns[rules.key]
    return tokens.get(column.vocabulary if isinstance(column.vocabulary, str) else rules.key, 0.0)


def _kept_events(
    spec: Spec, sampled: Sampled, columns: tuple[Column, ...], rows: float, tokens: dict[str, float]
) -> list[Line]:
    """Return what is kept for the histories of rows appended later."""
    rules = spec.history
    if rules is None or rules.tail_length == 0:
        return []
    keys = _keys(spec, rules, tokens)
    events = min(rows, keys * rules.tail_length)
    times = sampled.facts.features.get(spec.role("time") or "", FeatureFacts())
    widths = [WIDTH_BYTES[column.storage] for column in columns if column.name in list_columns(spec)]
    widths.append(WIDTH_BYTES[narrowest_integer(int(times.smallest or 0), int(times.largest or 0))])
    of_key = KEPT_KEY_BYTES + WIDTH_BYTES[narrowest_length(rules.tail_length)] * len(widths)
    how = f"{events:,.0f} x {sum(widths)} bytes + {keys:,.0f} values of {rules.key} x {of_key}, without their tokens"
    most = f"at most {rules.tail_length:,} of each of {keys:,.0f} values of {rules.key}, and no more than there are"
    return [
        Line("events kept", events, "events", most),
        Line("kept for appends", events * sum(widths) + keys * of_key, "bytes", how),
    ]


def _columns(
    spec: Spec,
    outputs: tuple[Target, ...],
    sampled: Sampled,
    tokens: dict[str, float],
    vocabularies: dict[str, tuple[VocabularySpec, tuple[str, ...]]],
    longest: int,
    mean_list: float,
) -> tuple[tuple[Column, ...], float, float]:
    """Return the columns as stored, the mean bytes of a row in lists, and its mean number of values."""
    collected = list_columns(spec)
    columns, list_bytes, values = [], 0.0, 0.0
    for target in outputs:
        facts = sampled.facts.features.get(collected.get(target.name, target.name), FeatureFacts())
        is_collected = target.name in collected
        length = mean_list if is_collected else facts.values / max(1, facts.rows)
        column = Column(
            name=target.name,
            storage=_storage(target, facts, tokens, vocabularies),
            lengths=narrowest_length(longest if is_collected else facts.longest) if target.is_list else None,
            nullable=facts.nulls > 0 and target.vocabulary is None and not target.is_list,
            values_per_row=target.length or 1,
        )
        columns.append(column)
        values += length if target.is_list else column.values_per_row
        list_bytes += length * WIDTH_BYTES[column.storage] if target.is_list else 0
    return tuple(columns), list_bytes, values


def _storage(
    target: Target,
    facts: FeatureFacts,
    tokens: dict[str, float],
    vocabularies: dict[str, tuple[VocabularySpec, tuple[str, ...]]],
) -> Storage:
    if target.vocabulary is not None:
        reserved = first_token_id(vocabularies[target.vocabulary][0].oov_buckets)
        return narrowest_integer(0, min(LARGEST_ID, reserved + math.ceil(tokens[target.vocabulary])))
    return "f32" if target.is_measured or not facts.values else facts.storage(target)


def _widths(columns: tuple[Column, ...]) -> str:
    return ", ".join(f"{column.name} {column.storage}{' list' if column.lengths else ''}" for column in columns)
