"""Define manifest.json, the one document a trainer needs: strict, balanced, and with paths that stay inside.

A dataset is the folder `<root>/<name>`; a version is `<root>/<name>/<version>`, complete once its manifest.json
exists. Every path in a manifest is relative to the dataset folder, so that a version may list an older
version's shards and the whole folder may be moved or copied.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.files import Count, File, Name, Sha256
from penstock_shared.layout import Column, RecordLayout
from penstock_shared.sketches import FeatureDrift
from penstock_shared.strict import Strict, parse
from penstock_shared.vocabularies import Vocabulary, VocabularyShard

MANIFEST_NAME = "manifest.json"
FORMAT: Literal["penstock-dataset"] = "penstock-dataset"
FORMAT_MAJOR, FORMAT_MINOR = 1, 0


class Shard(File):
    """Point at one TFRecord file of rows, at `<version>/<split>/...`, the split being what it was written for.

    `events` is the number of source rows in it where each row is a sequence of them, None where a row is one of them.
    """

    rows: Count
    events: Count | None = None
    blocks: Count

    @model_validator(mode="after")
    def _has_no_empty_sequence(self) -> "Shard":
        if self.events is not None and self.events < self.rows:
            raise ValueError(f"at least one event in each of the {self.rows} sequences, but there are {self.events}")
        return self

    @property
    def source_rows(self) -> int:
        """Return the number of source rows in the shard."""
        return self.rows if self.events is None else self.events

    @property
    def written_for(self) -> str:
        """Return the split that the shard was written for; a later version may list it under another."""
        return self.path.split("/")[1]


class Split(Strict):
    """List the shards of one split in order, and say by which rule rows came to it."""

    rule: str
    rows: Count
    blocks: Count
    bytes: Count
    shards: tuple[Shard, ...]
    block_index: File
    statistics: File | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> "Split":
        for quantity in ("rows", "blocks", "bytes"):
            total = sum(getattr(shard, quantity) for shard in self.shards)
            if total != getattr(self, quantity):
                raise ValueError(f"{quantity} equal to the sum over the shards, {total}")
        return self

    @property
    def source_rows(self) -> int:
        """Return the number of source rows in the split."""
        return sum(shard.source_rows for shard in self.shards)

    @property
    def holds_sequences(self) -> bool:
        """Tell whether each row is a sequence of source rows."""
        return any(shard.events is not None for shard in self.shards)


class SourceFile(Strict):
    """Identify one source file as it was when it was read."""

    path: str
    bytes: Count
    modified: str


class Source(Strict):
    """Record what was read: the files, and the type of each column taken."""

    kind: Literal["files"]
    format: str
    files: tuple[SourceFile, ...]
    rows: Count
    bytes: Count
    columns: dict[str, str]
    snapshot_time: str | None = None


class Certificate(Strict):
    """Hold statistics of the written order that a uniform permutation must satisfy.

    `z` is, by split and statistic, about standard normal for a uniform permutation; `passes` when none is past
    `limit_z`.
    """

    z: dict[Name, dict[str, float]]
    limit_z: float
    passes: bool


class Shuffle(Strict):
    """Record how rows were ordered, enough to do it again, and the proof that it worked."""

    seed: int
    method: Literal["keyed-hash/1"]
    certificate: Certificate | None = None


class Accounting(Strict):
    """Account for every row read: rows read = rows written + rows filtered + rows rejected.

    These are rows of the source; each row of a split stands for one of them, or for the events of a sequence.
    """

    read: Count
    written: Count
    filtered: dict[str, Count]
    rejected: dict[str, Count]

    @model_validator(mode="after")
    def _balances(self) -> "Accounting":
        total = self.written + sum(self.filtered.values()) + sum(self.rejected.values())
        if total != self.read:
            raise ValueError(f"rows that balance, but {self.read} were read and {total} accounted for")
        return self


class Table(Strict):
    """Describe the attributes of a vocabulary's entities: row i of the table is about the entity with id i.

    The shards hold the rows in blocks, whatever the layout of the splits. `missing` counts the ids of tokens of which
    the source has no entity: their rows, and those of the reserved ids, hold what stands for no value. In the
    accounting, `written` are the entities that have an id, and those filtered as `unmatched` have none.
    """

    rows: Count
    features: tuple[Feature, ...]
    shards: tuple[Shard, ...]
    missing: Count
    source: Source
    accounting: Accounting
    rejects: tuple[File, ...] = ()

    @model_validator(mode="after")
    def _holds_together(self) -> "Table":
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"distinct feature names, found {names}")
        total = sum(shard.rows for shard in self.shards)
        if total != self.rows:
            raise ValueError(f"rows equal to the sum over the shards, {total}")
        return self


class Tool(Strict):
    """Record what built the dataset."""

    version: str
    git_commit: str | None
    runner: str


class Parent(Strict):
    """Name the version this one was appended to."""

    version: Name
    digest: Sha256


class Increment(Strict):
    """Describe what one build added to an appended dataset: the shards in folder `version`.

    A shard keeps the columns it was written with. So `features` are the manifest's, but stored as this build stored
    them and measured over its rows alone. `rules` say how it split its rows, by split; `certificate` is of the order
    it wrote them in.
    """

    version: Name
    created: str
    features: tuple[Feature, ...]
    rules: dict[Name, str]
    certificate: Certificate | None = None


class Manifest(Strict):
    """Describe one complete, immutable version of a dataset.

    A version that was appended to another has `parent`, and an increment for each build whose shards it lists, oldest
    first, its own the last. Its features are as wide as the widest of theirs; statistics and accounting are over all
    of them, `source`, `spec` and `tool` of its own build alone.
    """

    format: Literal["penstock-dataset"] = FORMAT
    format_version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+$")]
    name: Name
    version: Name
    created: str
    fingerprint: Sha256
    digest: Sha256
    source: Source
    spec: dict[str, JsonValue]
    features: tuple[Feature, ...]
    vocabularies: dict[Name, Vocabulary]
    tables: dict[Name, Table] = Field(default_factory=dict)
    layout: RecordLayout
    splits: dict[Name, Split]
    shuffle: Shuffle
    accounting: Accounting
    rejects: tuple[File, ...]
    tool: Tool
    parent: Parent | None = None
    increments: tuple[Increment, ...] = ()
    drift: dict[str, FeatureDrift] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _holds_together(self) -> "Manifest":
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"distinct feature names, found {names}")
        for feature in (*self.features, *(feature for table in self.tables.values() for feature in table.features)):
            if feature.vocabulary is not None and feature.vocabulary not in self.vocabularies:
                raise ValueError(
                    f"feature {feature.name} to use a vocabulary of the manifest, not {feature.vocabulary}"
                )
        if len({shard.events is None for split in self.splits.values() for shard in split.shards}) > 1:
            raise ValueError("events in every shard or in none: rows are sequences, or they are not")
        for name, table in self.tables.items():
            vocabulary = self.vocabularies.get(name)
            if vocabulary is None:
                raise ValueError(f"table {name} to have the name of a vocabulary")
            if table.rows != vocabulary.size or table.accounting.written + table.missing != vocabulary.tokens:
                raise ValueError(
                    f"table {name} to have a row for each of the {vocabulary.size} ids of its vocabulary, and to "
                    f"account for its {vocabulary.tokens} tokens"
                )
        written = sum(split.source_rows for split in self.splits.values())
        if written != self.accounting.written:
            raise ValueError(
                f"the splits' {written} rows to equal the {self.accounting.written} rows accounted as written"
            )
        return self

    @model_validator(mode="after")
    def _grew(self) -> "Manifest":
        versions = [increment.version for increment in self.increments]
        if (self.parent is None) != (not versions) or versions[-1:] not in ([], [self.version]):
            raise ValueError(f"increments up to {self.version} with a parent and none without, found {versions}")
        for increment in self.increments:
            if [_meaning(feature) for feature in increment.features] != [_meaning(held) for held in self.features]:
                raise ValueError(
                    f"increment {increment.version} to have the manifest's features, only stored otherwise"
                )
        for shard in (shard for split in self.splits.values() for shard in split.shards if versions):
            if shard.version not in versions:
                raise ValueError(f"shard {shard.path} to be of a version among the increments {versions}")
        return self

    def feature(self, role: str) -> Feature | None:
        """Return the feature with a role (the first, of several), or None."""
        return next((feature for feature in self.features if feature.role == role), None)

    def features_of(self, shard: Shard) -> tuple[Feature, ...]:
        """Return the features as the build that wrote `shard` stored and measured them."""
        written = (increment.features for increment in self.increments if increment.version == shard.version)
        return next(written, self.features)


def content_digest(
    features: tuple[Feature, ...],
    layout: RecordLayout,
    vocabularies: dict[str, Vocabulary],
    splits: dict[str, Split],
    increments: tuple[Increment, ...] = (),
    tables: dict[str, Table] | None = None,
) -> str:
    """Return the sha256 of what a trainer would read: the columns, the tokens, the rows in their order.

    Where files lie, when and by what they were built does not count.
    """
    document = {
        "layout": layout.model_dump(),
        "features": _digested(features),
        "vocabularies": {name: vocabulary.digest for name, vocabulary in vocabularies.items()},
        "splits": {name: _digested_shards(split.shards) for name, split in splits.items()},
    }
    if tables:
        document["tables"] = {
            name: {"features": _digested(table.features), "shards": _digested_shards(table.shards)}
            for name, table in tables.items()
        }
    if increments:
        place = {increment.version: number for number, increment in enumerate(increments)}
        document["columns"] = [[feature.column.digested() for feature in held.features] for held in increments]
        document["increments"] = {
            name: [place[shard.version] for shard in held.shards] for name, held in splits.items()
        }
    return fingerprint(document)


def _digested(features: tuple[Feature, ...]) -> list[JsonValue]:
    return [[feature.role, feature.dtype, feature.vocabulary, feature.column.digested()] for feature in features]


def _digested_shards(shards: tuple[Shard, ...]) -> list[JsonValue]:
    return [[shard.rows, shard.bytes, shard.crc32c] for shard in shards]


def _meaning(feature: Feature) -> tuple[Any, ...]:
    stored = ("storage", "lengths", "nullable", "statistics")
    return (*(value for name, value in feature if name not in stored), feature.lengths is None)


def vocabulary_digest(oov_buckets: int, columns: tuple[Column, ...], shards: tuple[VocabularyShard, ...]) -> str:
    """Return the sha256 of a vocabulary's ids: its reserved ids and its tokens in order."""
    return fingerprint(
        {
            "oov_buckets": oov_buckets,
            "columns": [column.digested() for column in columns],
            "shards": [[shard.tokens, shard.bytes, shard.crc32c] for shard in shards],
        }
    )


def fingerprint(document: Any) -> str:
    """Return the sha256 of a JSON value in canonical form (sorted keys, no blanks, UTF-8)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def dump_manifest(manifest: Manifest) -> str:
    """Return the text of manifest.json."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def load_manifest(text: str | bytes, where: str) -> Manifest:
    """Parse the text of a manifest.json; `where` is its path, for messages.

    Raises DataRefused naming the path of each offending field, what was found and what was expected; a newer
    major version is refused before anything else is looked at.
    """
    try:
        document = json.loads(text)
    except ValueError as fault:
        raise DataRefused(f"{where}: not JSON ({fault}); is it a manifest, and whole?") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataRefused(f"{where}: format: expected {FORMAT!r}; this is not a dataset manifest")
    version = str(document.get("format_version"))
    major = version.partition(".")[0]
    if major.isdigit() and int(major) > FORMAT_MAJOR:
        raise DataRefused(
            f"{where}: format_version: found {version}, expected at most {FORMAT_MAJOR}.x; "
            "install a newer penstock-shared"
        )
    return parse(Manifest, document, where, DataRefused)
