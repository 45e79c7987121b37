"""Define manifest.json, the one document a trainer needs: strict, balanced, and with paths that stay inside.

A dataset is the folder `<root>/<name>`; a version is `<root>/<name>/<version>`, complete once its manifest.json
exists. Every path in a manifest is relative to the dataset folder, so that a version may list an older
version's shards and the whole folder may be moved or copied.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.layout import Column, RecordLayout
from penstock_shared.strict import Strict, parse

MANIFEST_NAME = "manifest.json"
FORMAT: Literal["penstock-dataset"] = "penstock-dataset"
FORMAT_MAJOR, FORMAT_MINOR = 1, 0

Count = Annotated[int, Field(ge=0)]
Crc32c = Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def _stay_inside(path: str) -> str:
    parts = path.split("/")
    if re.search(r"[\\:\x00]", path) or any(part in ("", ".", "..") for part in parts):
        raise ValueError("a relative path of plain names, so that it cannot leave the dataset folder")
    return path


RelativePath = Annotated[str, AfterValidator(_stay_inside)]


class File(Strict):
    """Point at one file of the dataset, with what it takes to tell that it is whole."""

    path: RelativePath
    bytes: Count
    crc32c: Crc32c


class Shard(File):
    """Point at one TFRecord file of rows."""

    rows: Count
    blocks: Count


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


class VocabularyShard(File):
    """Point at one TFRecord file of blocks with a vocabulary's next `tokens` tokens and their counts."""

    tokens: Count


class Vocabulary(Strict):
    """Describe the ids of a vocabulary and where its tokens and counts are.

    `size` is the number of ids, reserved ones included: the rows of an embedding table. `coverage` is the share
    of counted values that are in the vocabulary. `columns` lay out the token and the count in a block; a string
    token is a list of UTF-8 bytes. A vocabulary with `encoding: hash` has no tokens: every value falls in an
    out-of-vocabulary bucket.
    """

    token_dtype: Literal["int64", "string"]
    encoding: Literal["table", "hash"]
    size: Count
    tokens: Count
    oov_buckets: Annotated[int, Field(ge=1)]
    min_count: Annotated[int, Field(ge=1)]
    max_size: Count | None
    counted_over: Literal["train", "all"]
    counted_values: Count
    coverage: Annotated[float, Field(ge=0, le=1)]
    shared_by: tuple[str, ...]
    columns: tuple[Column, ...]
    shards: tuple[VocabularyShard, ...]
    parent: Sha256 | None = None
    digest: Sha256


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
    """Account for every row read: rows read = rows written + rows filtered + rows rejected."""

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


class Tool(Strict):
    """Record what built the dataset."""

    version: str
    git_commit: str | None
    runner: str


class Parent(Strict):
    """Name the version this one was appended to."""

    version: Name
    digest: Sha256


class Manifest(Strict):
    """Describe one complete, immutable version of a dataset."""

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
    layout: RecordLayout
    splits: dict[Name, Split]
    shuffle: Shuffle
    accounting: Accounting
    rejects: tuple[File, ...]
    tool: Tool
    parent: Parent | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> "Manifest":
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"distinct feature names, found {names}")
        for feature in self.features:
            if feature.vocabulary is not None and feature.vocabulary not in self.vocabularies:
                raise ValueError(
                    f"feature {feature.name} to use a vocabulary of the manifest, not {feature.vocabulary}"
                )
        written = sum(split.rows for split in self.splits.values())
        if written != self.accounting.written:
            raise ValueError(
                f"the splits' {written} rows to equal the {self.accounting.written} rows accounted as written"
            )
        return self

    def feature(self, role: str) -> Feature | None:
        """Return the feature with a role (the first, of several), or None."""
        return next((feature for feature in self.features if feature.role == role), None)


def content_digest(
    features: tuple[Feature, ...],
    layout: RecordLayout,
    vocabularies: dict[str, Vocabulary],
    splits: dict[str, Split],
) -> str:
    """Return the sha256 of what a trainer would read: the columns, the tokens, the rows in their order.

    Where files lie, when and by what they were built does not count.
    """
    return fingerprint(
        {
            "layout": layout.model_dump(),
            "features": [
                [feature.role, feature.dtype, feature.vocabulary, feature.column.digested()] for feature in features
            ],
            "vocabularies": {name: vocabulary.digest for name, vocabulary in vocabularies.items()},
            "splits": {
                name: [[shard.rows, shard.bytes, shard.crc32c] for shard in split.shards]
                for name, split in splits.items()
            },
        }
    )


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
