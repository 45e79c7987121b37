"""Say what would hurt later: what a sample shows that a build accepts, pays for, and a trainer suffers from."""

from collections.abc import Iterator

from penstock_dataprep.forecast.sampled import Sampled
from penstock_dataprep.spec.columns import VocabularySpec
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.transforms.time_part import TimePartRule

LEAST_ROWS = 1000  # of a smaller sample, shares say nothing
UNIQUE_SHARE = 0.95
SKEWED_KEY_SHARE, SKEWED_TOKEN_SHARE = 0.01, 0.2
OTHER_UNIT_SHARE = 0.001


def warnings_of(
    spec: Spec,
    targets: tuple[Target, ...],
    vocabularies: dict[str, tuple[VocabularySpec, tuple[str, ...]]],
    nullable: frozenset[str],
    sampled: Sampled,
    rows: float,
) -> Iterator[str]:
    """Yield a warning, with its place in the spec and a remedy, for each thing found."""
    yield from _nulls(spec, targets, nullable, sampled)
    if sampled.rejected.total() > spec.max_reject_fraction * sampled.rows:
        found = ", ".join(f"{reason}: {count:,}" for reason, count in sampled.rejected.most_common(3))
        yield (
            f"max_reject_fraction: {1 - sampled.valid_share:.2%} of {sampled.rows:,} sampled rows break a rule "
            f"({found}), more than {spec.max_reject_fraction:.2%}: a build would be refused; mend rows or rules"
        )
    if sampled.rows < LEAST_ROWS:
        return
    yield from _unique(vocabularies, sampled, rows)
    yield from _skewed(spec, vocabularies, sampled, rows)
    yield from _transformed(targets, sampled)
    yield from _times({t.name: sampled.units.get(t.name, {}) for t in targets if t.role == "time"})


def space_warning(place: str, needed_bytes: float, free_bytes: int) -> list[str]:
    """Return a warning where a disk has less room than a build is expected to need, none where it has."""
    if needed_bytes <= free_bytes:
        return []
    return [
        f"{place}: the disk has {free_bytes:,} bytes free, and scratch files and the dataset need about "
        f"{needed_bytes:,.0f}; free some, or choose another disk by --scratch"
    ]


def _nulls(spec: Spec, targets: tuple[Target, ...], nullable: frozenset[str], sampled: Sampled) -> Iterator[str]:
    """Yield the columns whose nulls nobody decided on, each that has some, and the others in a line."""
    without = [target for target in targets if spec.columns[target.name].null is None]
    for target in without:
        if nulls := sampled.nulls.get(target.source, 0):
            happens = "their rows are rejected" if target.null == "reject" else "they are kept as missing"
            yield (
                f"columns.{target.name}: {nulls / sampled.rows:.2%} of {sampled.rows:,} sampled rows are null, and no "
                f"null policy says what to do: {happens}; write null: reject, null: keep or null: {{default: ...}}"
            )
    quiet = [t.name for t in without if t.source in nullable and not sampled.nulls.get(t.source) and t.null == "reject"]
    if quiet:
        yield (
            f"columns {', '.join(quiet)}: nullable in the source, no nulls in the sample and no null policy: rows "
            "without a value will be rejected; write null: reject to say so"
        )


def _unique(
    vocabularies: dict[str, tuple[VocabularySpec, tuple[str, ...]]], sampled: Sampled, rows: float
) -> Iterator[str]:
    for name, (rules, _) in vocabularies.items():
        tokens = sampled.tokens.get(name)
        if tokens is None or tokens.values < LEAST_ROWS or rules.encoding == "hash":
            continue
        if tokens.distinct > UNIQUE_SHARE * tokens.values:
            yield (
                f"columns.{name}.vocabulary: {tokens.distinct:,} distinct tokens in {tokens.values:,} sampled values: "
                f"nearly unique per row. If all {rows:,.0f} rows are so, the vocabulary is as long and nothing is "
                "learned of a token; leave the column out, set min_count: 2, or use encoding: hash"
            )


def _skewed(
    spec: Spec, vocabularies: dict[str, tuple[VocabularySpec, tuple[str, ...]]], sampled: Sampled, rows: float
) -> Iterator[str]:
    """Yield tokens so common that one worker gets their rows alone, or that a model learns little else."""
    keys = {spec.list_rules.key} if spec.list_rules else set()
    user = spec.role("user")
    if user is not None:
        keys.add(user)
    for name, (_, users) in vocabularies.items():
        tokens = sampled.tokens.get(name)
        if tokens is None or not tokens.values:
            continue
        is_key = bool(keys & set(users))
        if tokens.top_share > (SKEWED_KEY_SHARE if is_key else SKEWED_TOKEN_SHARE) and tokens.distinct > 1:
            hurts = (
                "all rows of a key go through one worker, and a bot or a default id is no user"
                if is_key
                else "a model learns little else of the column"
            )
            yield (
                f"columns.{name}: {tokens.top!r} has {tokens.top_share:.1%} of the sampled values, of {rows:,.0f} rows "
                f"about {rows * tokens.top_share:,.0f}: {hurts}; leave its rows out, if it is none"
            )


def _transformed(targets: tuple[Target, ...], sampled: Sampled) -> Iterator[str]:
    for target in targets:
        wanted = (target.transform.unit or "s") if isinstance(target.transform, TimePartRule) else None
        units = sampled.units.get(target.name, {})
        usual = max(units, key=lambda unit: units[unit], default="none")
        if wanted is not None and usual not in ("none", wanted):
            yield (
                f"columns.{target.name}.transform.unit: found {wanted}, but {units[usual]:.1%} of the sampled times "
                f"look like {usual}; write unit: {usual}"
            )


def _times(units_by_column: dict[str, dict[str, float]]) -> Iterator[str]:
    for name, units in units_by_column.items():
        usual = max(units, key=lambda unit: units[unit], default=None)
        if usual == "none":
            yield (
                f"columns.{name}: {units['none']:.1%} of the sampled times are, in no unit from seconds to nanoseconds "
                "since 1970, in the years 2001 to 2100; is it a time?"
            )
        others = {unit: share for unit, share in units.items() if unit != usual}
        if usual is not None and sum(others.values()) > OTHER_UNIT_SHARE:
            found = ", ".join(f"{share:.2%} like {unit}" for unit, share in others.items())
            yield (
                f"columns.{name}: most of the sampled times look like {usual}, but {found}: mixed units put rows into "
                "the wrong order and split; convert them to one"
            )
