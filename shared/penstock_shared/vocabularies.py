"""Describe vocabularies: which tokens have an id of their own, where they are, and how they grew."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock_shared.files import Count, File, Sha256
from penstock_shared.layout import Column
from penstock_shared.strict import Strict


class VocabularyShard(File):
    """Point at one TFRecord file of blocks with a vocabulary's next `tokens` tokens and their counts."""

    tokens: Count


class Ancestor(Strict):
    """Name the vocabulary of an earlier version: it held the first `tokens` tokens, at the ids they have now."""

    tokens: Count
    digest: Sha256


class CoveragePoint(Strict):
    """Say which share of the counted values the `tokens` most frequent tokens cover."""

    tokens: Annotated[int, Field(ge=1)]
    coverage: Annotated[float, Field(ge=0, le=1)]


class Vocabulary(Strict):
    """Describe the ids of a vocabulary and where its tokens and counts are.

    `size` is the number of ids, reserved ones included: the rows of an embedding table. `coverage` is the share
    of the `counted_values` that are in the vocabulary, `curve` the share that its most frequent tokens cover, ever more
    of them up to all. Values are counted before `duplicates: drop` removes rows: those of the copies are among them.
    `columns` lay out the token and the count in a block; a string token is a list of UTF-8 bytes. A vocabulary with
    `encoding: hash` has no tokens: every value falls in an out-of-vocabulary bucket.

    A vocabulary that grew by appends has an ancestor for each, oldest first; `parent` is the digest of the last.
    The tokens that a version added follow those of its ancestors, among themselves by descending count in that
    version's rows, ties by token. Counts are sums over all versions, so that only the newest tokens are in order.
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
    curve: tuple[CoveragePoint, ...] = ()
    shared_by: tuple[str, ...]
    columns: tuple[Column, ...]
    shards: tuple[VocabularyShard, ...]
    ancestors: tuple[Ancestor, ...] = ()
    parent: Sha256 | None = None
    digest: Sha256

    @model_validator(mode="after")
    def _descends(self) -> "Vocabulary":
        tokens = [ancestor.tokens for ancestor in self.ancestors] + [self.tokens]
        if tokens != sorted(tokens):
            raise ValueError(f"ancestors with ever more tokens, found {tokens}")
        if self.parent != (self.ancestors[-1].digest if self.ancestors else None):
            raise ValueError("a parent that is the digest of the last ancestor, or none without ancestors")
        return self

    @property
    def first_ordered(self) -> int:
        """Return the number of tokens before those of this version, from which on counts descend."""
        return self.ancestors[-1].tokens if self.ancestors else 0

    def descends_from(self, other: "Vocabulary") -> bool:
        """Tell whether every id of `other` is the same token's id here."""
        ancestors = (*self.ancestors, Ancestor(tokens=self.tokens, digest=self.digest))
        return any(held.digest == other.digest and held.tokens == other.tokens for held in ancestors)
