"""Define the spec: what to read, what each column is, how to split, shuffle and write it."""

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

from penstock_dataprep.list_spec import HistorySpec, ListSpec, SequencesSpec, list_faults
from penstock_dataprep.transforms import TransformRule
from penstock_shared.errors import UserMistake
from penstock_shared.features import Role
from penstock_shared.layout import LayoutKind
from penstock_shared.manifest import Name
from penstock_shared.strict import Strict, nearest, parse

BYTE_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
ID_ROLES = ("user", "item")
SplitName = Literal["train", "validation", "test"]


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([0-9]+)\s*([A-Za-z]*)\s*", value)
    if found is None or found[2] not in BYTE_UNITS:
        raise ValueError(f"a number of bytes with one of the units {', '.join(filter(None, BYTE_UNITS))}")
    return int(found[1]) * BYTE_UNITS[found[2]]


Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class SourceSpec(Strict):
    """Say which files to read; `files` is a path, a glob or an fsspec URL, or a list of them.

    `header` names the columns of CSV files that have no header line.
    """

    files: str | tuple[str, ...]
    format: Literal["parquet", "csv", "jsonl"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    header: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> "SourceSpec":
        if self.header is not None and self.format != "csv":
            raise ValueError(f"no header for format {self.format}, whose files name their columns")
        if self.header is not None and len(set(self.header)) < len(self.header):
            raise ValueError(f"header: distinct names, found {list(self.header)}")
        return self

    @property
    def patterns(self) -> tuple[str, ...]:
        """Return the paths, globs and URLs as a tuple."""
        return (self.files,) if isinstance(self.files, str) else self.files


class VocabularySpec(Strict):
    """Say which tokens get an id of their own, and over which rows they are counted."""

    min_count: Annotated[int, Field(ge=1)] = 1
    max_size: Annotated[int, Field(ge=1)] | None = None
    oov_buckets: Annotated[int, Field(ge=1, lt=2**31)] = 1
    of: Literal["train", "all"] = "train"
    encoding: Literal["table", "hash"] = "table"


class NullDefault(Strict):
    """Replace a missing value by `default`."""

    default: int | float | str


class ColumnSpec(Strict):
    """Say where a feature comes from, what it is for, and which values it may have.

    `vocabulary` is the rules of its own vocabulary, or the name of a column whose vocabulary it shares. `transform`
    says what becomes of valid values. `shape: [d]` is for a column of lists that each hold d numbers.
    """

    from_: Annotated[str | None, Field(alias="from")] = None
    role: Role = "feature"
    dtype: Literal["int64", "float32", "string"] | None = None
    transform: TransformRule | None = None
    vocabulary: VocabularySpec | str | None = None
    shape: tuple[Annotated[int, Field(ge=2, lt=2**16)]] | None = None
    range: tuple[float, float] | None = None
    null: Literal["reject", "keep"] | NullDefault | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> "ColumnSpec":
        self._transform_fits()
        if self.role in ID_ROLES and self.vocabulary is None:
            raise ValueError(f"a vocabulary, because role is {self.role}; write vocabulary: {{}} for the defaults")
        if self.vocabulary is None and self.dtype == "string":
            raise ValueError("a vocabulary, because dtype is string; write vocabulary: {} for the defaults")
        if self.vocabulary is not None and self.dtype == "float32":
            raise ValueError("dtype int64 or string for a column with a vocabulary, because its values are tokens")
        if self.vocabulary is not None and self.range is not None:
            raise ValueError("no range for a column with a vocabulary: tokens are not ordered")
        if self.role == "time" and (self.vocabulary is not None or self.dtype == "float32"):
            raise ValueError("dtype int64 and no vocabulary for the time column")
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError("range: [smallest, largest]")
        if self.range is not None and isinstance(self.null, NullDefault):
            default = self.null.default
            if isinstance(default, str) or not self.range[0] <= default <= self.range[1]:
                raise ValueError(f"null.default in the range {list(self.range)}")
        return self

    def _transform_fits(self) -> None:
        if self.transform is not None:
            kind, makes_text = self.transform.kind, self.transform.makes == "string"
            if self.role not in ("feature", "label"):
                raise ValueError(f"no transform for the {self.role} column; make it a feature of its own, with from")
            if self.dtype is not None and self.dtype not in self.transform.takes:
                raise ValueError(f"dtype {' or '.join(self.transform.takes)}, which {kind} takes")
            if makes_text and self.vocabulary is None:
                raise ValueError(f"a vocabulary for the tokens that {kind} makes, for example {{encoding: hash}}")
            if not makes_text and self.vocabulary is not None:
                raise ValueError(f"no vocabulary, because {kind} makes numbers")
        if self.shape is not None:
            if self.transform is not None or self.vocabulary is not None or self.dtype not in (None, "float32"):
                raise ValueError("dtype float32, no transform and no vocabulary for a column with a shape")
            if self.role != "feature" or self.null == "keep":
                raise ValueError("role feature and null: reject or a default for a column with a shape")

    @property
    def null_policy(self) -> Literal["reject", "keep"] | NullDefault:
        """Return what to do with a missing value: by default features keep it.

        All other roles, and vectors, which cannot be empty, reject the row.
        """
        return self.null or ("keep" if self.role == "feature" and self.shape is None else "reject")


class LimitsSpec(Strict):
    """Refuse a build whose rows go past a limit: shares of all rows or values, or drift against the parent version."""

    max_null_fraction: Fraction | None = None
    max_oov_fraction: Fraction | None = None
    max_stability_index: Annotated[float, Field(gt=0)] | None = None


class TimeSplit(Strict):
    """Put the latest rows into the test split, and those before them into the validation split."""

    by: Literal["time"]
    test_fraction: Fraction
    validation_fraction: Fraction = 0.0


class LeaveLastSplit(Strict):
    """Put each user's last `n` rows into the test split; a user with too few rows stays in train."""

    by: Literal["leave_last"]
    n: Annotated[int, Field(ge=1)] = 1
    validation_n: Annotated[int, Field(ge=0)] = 0


class EntityHashSplit(Strict):
    """Send all rows of an entity to one split, chosen by the hash of its token."""

    by: Literal["entity_hash"]
    column: str
    fractions: dict[SplitName, Annotated[float, Field(gt=0, le=1)]]

    @model_validator(mode="after")
    def _adds_up(self) -> "EntityHashSplit":
        if abs(sum(self.fractions.values()) - 1) > 1e-9 or "train" not in self.fractions:
            raise ValueError("fractions with train among them that add up to 1")
        return self


SplitSpec = Annotated[TimeSplit | LeaveLastSplit | EntityHashSplit, Field(discriminator="by")]


class ShuffleSpec(Strict):
    """Name the seed of the global order."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class OutputSpec(Strict):
    """Say how rows are laid out in records and records in shards."""

    layout: LayoutKind = "blocks"
    rows_per_block: Annotated[int, Field(ge=1, le=2**24)] = 8192
    shard_bytes: Bytes = 128 * 2**20


class Spec(Strict):
    """Hold everything that decides what a dataset contains.

    A build that is appended lists the shards of the newest `keep_last` builds, its own among them, or of all.
    """

    name: Name
    source: SourceSpec
    columns: Annotated[dict[Name, ColumnSpec], Field(min_length=1)]
    split: SplitSpec
    history: HistorySpec | None = None
    examples: Literal["rows", "sequences"] = "rows"
    sequences: SequencesSpec | None = None
    shuffle: ShuffleSpec = ShuffleSpec()
    output: OutputSpec = OutputSpec()
    duplicates: Literal["keep", "drop"] = "keep"
    limits: dict[Name, LimitsSpec] = Field(default_factory=dict)
    max_reject_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    keep_last: Annotated[int, Field(ge=1)] | None = None

    @property
    def list_rules(self) -> ListSpec | None:
        """Return what is collected into lists, None where rows are written as they are."""
        return self.history or self.sequences

    def source_column(self, name: str) -> str:
        """Return the name in the source of the column behind feature `name`."""
        return self.columns[name].from_ or name

    def role(self, role: Role) -> str | None:
        """Return the name of the column with a role, or None."""
        return next((name for name, column in self.columns.items() if column.role == role), None)

    def vocabularies(self) -> dict[str, tuple[VocabularySpec, tuple[str, ...]]]:
        """Return, for each vocabulary, its rules and the columns that use it; it is named for its first column."""
        found: dict[str, tuple[VocabularySpec, tuple[str, ...]]] = {}
        for name, column in self.columns.items():
            if isinstance(column.vocabulary, VocabularySpec):
                found[name] = (column.vocabulary, (name,))
        for name, column in self.columns.items():
            if isinstance(column.vocabulary, str):
                rules, users = found[column.vocabulary]
                found[column.vocabulary] = (rules, (*users, name))
        return found


def load_spec(path: str, text: str) -> Spec:
    """Parse and check a spec; `path` names it in messages.

    Raises UserMistake with every fault's path in the file, the value found and what is allowed.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise UserMistake(f"{path}: not YAML: {fault}") from None
    if not isinstance(document, dict):
        raise UserMistake(f"{path}: found {document!r}, expected a mapping with name, source, columns and split")
    spec = parse(Spec, document, path, UserMistake)
    if faults := _cross_faults(spec):
        raise UserMistake("\n".join(f"{path}: {fault}" for fault in faults))
    return spec


def _cross_faults(spec: Spec) -> list[str]:
    faults = []
    for role in ("user", "item", "label", "time"):
        holders = [name for name, column in spec.columns.items() if column.role == role]
        if len(holders) > 1 and role != "label":
            faults.append(f"columns: {' and '.join(holders)} both have role {role}, expected at most one")
    owners = [name for name, column in spec.columns.items() if isinstance(column.vocabulary, VocabularySpec)]
    for name, column in spec.columns.items():
        if isinstance(column.vocabulary, str) and column.vocabulary not in owners:
            faults.append(
                f"columns.{name}.vocabulary: found {column.vocabulary!r}, expected rules or the name of a column "
                f"with a vocabulary of its own; {nearest(column.vocabulary, owners)}"
            )
    for name in spec.limits.keys() - spec.columns.keys():
        faults.append(f"limits.{name}: no such column; {nearest(name, spec.columns)}")
    needs = {"time": ("time",), "leave_last": ("time", "user"), "entity_hash": ()}[spec.split.by]
    for need in needs:
        if spec.role(need) is None:  # type: ignore[arg-type]
            faults.append(f"split: by {spec.split.by} needs a column with role {need}; give one that role")
    if isinstance(spec.split, TimeSplit) and spec.split.test_fraction + spec.split.validation_fraction >= 1:
        faults.append("split: test_fraction and validation_fraction leave no rows to train on")
    if isinstance(spec.split, EntityHashSplit):
        entity = spec.columns.get(spec.split.column)
        if entity is None or entity.vocabulary is None:
            with_tokens = [name for name, held in spec.columns.items() if held.vocabulary is not None]
            faults.append(
                f"split.column: found {spec.split.column!r}, expected a column with a vocabulary; "
                f"{nearest(spec.split.column, with_tokens)}"
            )
    return [*faults, *list_faults(spec)]
