"""List the shards of a split, and hold their numbers to adding up."""

from typing import Annotated

from pydantic import Field, model_validator

from penstock_shared.files import Count, File
from penstock_shared.strict import Strict


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
    """List the shards of one split in order, and say by which rule rows came to it.

    `oov_share` is, by feature with a vocabulary, the share of its values in the split that are outside the vocabulary.
    """

    rule: str
    rows: Count
    blocks: Count
    bytes: Count
    shards: tuple[Shard, ...]
    block_index: File
    statistics: File | None = None
    oov_share: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)

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
