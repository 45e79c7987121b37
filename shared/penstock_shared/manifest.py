"""Define manifest.json, the one document a trainer needs: strict, balanced, and with paths that stay inside.

A dataset is the folder `<root>/<name>`; a version is `<root>/<name>/<version>`, complete once its manifest.json
exists. Every path in a manifest is relative to the dataset folder, so that a version may list an older
version's shards and the whole folder may be moved or copied.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.files import Count, File, Name, Sha256
from penstock_shared.layout import RecordLayout
from penstock_shared.origin import Parent, Source, Tool
from penstock_shared.sketches import FeatureDrift
from penstock_shared.splits import Shard, Split
from penstock_shared.strict import Strict, parse
from penstock_shared.tails import Tails
from penstock_shared.vocabularies import Vocabulary

MANIFEST_NAME = "manifest.json"
FORMAT: Literal["penstock-dataset"] = "penstock-dataset"
FORMAT_MAJOR, FORMAT_MINOR = 1, 0


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
    accounting, `written` are the entities that have an id, and those filtered as `unmatched` have none. `drift` is
    against the table of the version that this one was appended to.
    """

    rows: Count
    features: tuple[Feature, ...]
    shards: tuple[Shard, ...]
    missing: Count
    source: Source
    accounting: Accounting
    rejects: tuple[File, ...] = ()
    statistics: File | None = None
    drift: dict[str, FeatureDrift] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _holds_together(self) -> "Table":
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"distinct feature names, found {names}")
        total = sum(shard.rows for shard in self.shards)
        if total != self.rows:
            raise ValueError(f"rows equal to the sum over the shards, {total}")
        return self


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
    of them, `source`, `spec` and `tool` of its own build alone. `tails` are over all rows ever read for it and those
    before it, listed or not; a version without them takes no rows with histories.
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
    tails: Tails | None = None

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


def _meaning(feature: Feature) -> tuple[Any, ...]:
    stored = ("storage", "lengths", "nullable", "statistics")
    return (*(value for name, value in feature if name not in stored), feature.lengths is None)


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
