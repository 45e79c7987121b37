"""Define the spec: what to read, what each column is, how to split, shuffle and write it."""

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

from penstock_dataprep.spec.columns import ColumnSpec, VocabularySpec
from penstock_dataprep.spec.faults import cross_faults
from penstock_dataprep.spec.lists import HistorySpec, ListSpec, SequencesSpec
from penstock_dataprep.spec.source import SourceSpec
from penstock_dataprep.spec.text import read_yaml
from penstock_shared.errors import UserMistake
from penstock_shared.features import Role
from penstock_shared.files import Name
from penstock_shared.layout import LayoutKind
from penstock_shared.strict import Strict, parse

BYTE_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
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


class LimitsSpec(Strict):
    """Refuse a build whose rows go past a limit: shares of all rows or values, or drift against the parent version.

    The rows of an entity table are its ids: a column has no value for those without an entity, unless it has a default.
    """

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


class TableSpec(Strict):
    """Say where the attributes of a vocabulary's entities are: `key` is the source's column with the entities' tokens.

    Where an entity has several rows, they must be equal; or the table has a column of role time, and the latest counts.
    `max_missing_fraction` is of the vocabulary's tokens, those without an entity.
    """

    source: SourceSpec
    key: str
    columns: Annotated[dict[Name, ColumnSpec], Field(min_length=1)]
    max_reject_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_missing_fraction: Fraction | None = None
    limits: dict[Name, LimitsSpec] = Field(default_factory=dict)


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

    `duplicates: drop` leaves out all but one of equal rows when shards are written. Tokens are counted, and a split by
    time is cut, before that: `min_count`, `max_size` and the fractions are over rows with their copies.
    A build that is appended lists the shards of the newest `keep_last` builds, its own among them, or of all.
    """

    name: Name
    source: SourceSpec
    columns: Annotated[dict[Name, ColumnSpec], Field(min_length=1)]
    tables: dict[Name, TableSpec] = Field(default_factory=dict)
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

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the columns whose tokens tell apart whose events are whose: of lists, and of each user's last rows."""
        of_lists = (self.list_rules.key,) if self.list_rules else ()
        return (*of_lists, self.role("user") or "") if isinstance(self.split, LeaveLastSplit) else of_lists

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
            if isinstance(column.vocabulary, str) and column.vocabulary in found:
                rules, users = found[column.vocabulary]
                found[column.vocabulary] = (rules, (*users, name))
        return found

    def table_log(self, table: str, token_dtype: str) -> "Spec":
        """Return the spec that reads a table as if it were a log, all of it to train on.

        Its first column is the key and has the vocabulary's name and tokens, of `token_dtype`; the others, and their
        vocabularies, which are counted over all rows, are named `table.column`.
        """
        held = self.tables[table]
        key = ColumnSpec.model_validate({"from": held.key, "vocabulary": table, "dtype": token_dtype, "null": "reject"})
        columns = {table: key}
        for name, column in held.columns.items():
            vocabulary = column.vocabulary
            if isinstance(vocabulary, VocabularySpec):
                vocabulary = vocabulary.model_copy(update={"of": "all"})
            elif vocabulary is not None and vocabulary in held.columns:
                vocabulary = f"{table}.{vocabulary}"
            columns[f"{table}.{name}"] = column.model_copy(
                update={"from_": column.from_ or name, "vocabulary": vocabulary}
            )
        everything = EntityHashSplit(by="entity_hash", column=table, fractions={"train": 1.0})
        return self.model_copy(
            update={
                "source": held.source,
                "columns": columns,
                "tables": {},
                "split": everything,
                "limits": {},
                "history": None,
                "examples": "rows",
                "sequences": None,
                "duplicates": "keep",
                "max_reject_fraction": held.max_reject_fraction,
            }
        )


def load_spec(path: str, text: str) -> Spec:
    """Parse and check a spec; `path` names it in messages.

    Raises UserMistake with every fault's path in the file, the value found and what is allowed.
    """
    try:
        document = read_yaml(text)
    except yaml.YAMLError as fault:
        raise UserMistake(f"{path}: not YAML: {fault}") from None
    if not isinstance(document, dict):
        raise UserMistake(f"{path}: found {document!r}, expected a mapping with name, source, columns and split")
    spec = parse(Spec, document, path, UserMistake)
    if faults := cross_faults(spec):
        raise UserMistake("\n".join(f"{path}: {fault}" for fault in faults))
    return spec
