"""Decide, from all that was measured, how the dataset is laid out: storage widths and shards."""

from dataclasses import dataclass

from penstock_dataprep.facts import Facts
from penstock_dataprep.numbering import Numbering
from penstock_dataprep.shuffle import shard_count
from penstock_dataprep.spec import Spec
from penstock_dataprep.split import SPLITS, wanted_splits
from penstock_dataprep.targets import Target
from penstock_shared.features import Feature, Statistics
from penstock_shared.layout import WIDTH_BYTES, Column, narrowest_integer


@dataclass(frozen=True)
class Design:
    """Hold the columns of a block, and the number of shards of each split; shards are numbered through the splits."""

    columns: tuple[Column, ...]
    shards: dict[str, int]

    def first_shard(self, split: str) -> int:
        """Return the number of the first shard of a split."""
        names = list(self.shards)
        return sum(self.shards[name] for name in names[: names.index(split)])

    def locate(self, number: int) -> tuple[str, int]:
        """Return (split, position in it) of a shard's number."""
        for split, shards in self.shards.items():
            if number < shards:
                return split, number
            number -= shards
        raise ValueError(f"no shard {number} past the last one")


def make_design(
    spec: Spec,
    targets: tuple[Target, ...],
    facts: Facts,
    rows_per_split: dict[str, int],
    numberings: dict[str, Numbering],
) -> Design:
    """Choose storage widths and shard counts."""
    columns = tuple(_column(target, facts, numberings) for target in targets)
    list_bytes = sum(
        WIDTH_BYTES[column.storage] * facts.features[column.name].values / max(1, facts.valid)
        for column in columns
        if column.lengths
    )
    output = spec.output
    shards: dict[str, int] = {
        split: shard_count(rows_per_split.get(split, 0), columns, list_bytes, output.shard_bytes, output.rows_per_block)
        for split in SPLITS
        if split in wanted_splits(spec.split)
    }
    return Design(columns, shards)


def make_features(targets: tuple[Target, ...], design: Design, facts: Facts) -> tuple[Feature, ...]:
    """Return the manifest's description of the features, with what is known of them before rows are written."""
    return tuple(
        _make_feature(target, column, facts.features[target.name].extent())
        for target, column in zip(targets, design.columns, strict=True)
    )


def _make_feature(target: Target, column: Column, statistics: Statistics) -> Feature:
    dtype = "int32" if target.vocabulary is not None else "float32" if target.dtype == "float32" else "int64"
    return Feature(
        name=target.name,
        role=target.role,
        dtype=dtype,  # type: ignore[arg-type]
        storage=column.storage,
        lengths=column.lengths,
        nullable=column.nullable,
        vocabulary=target.vocabulary,
        statistics=statistics,
    )


def _column(target: Target, facts: Facts, numberings: dict[str, Numbering]) -> Column:
    measured = facts.features[target.name]
    if target.vocabulary is not None:
        storage = narrowest_integer(0, numberings[target.vocabulary].size - 1)
        return Column(name=target.name, storage=storage, lengths=measured.lengths(target))
    nullable = measured.nulls > 0 and not target.is_list
    return Column(
        name=target.name, storage=measured.storage(target), lengths=measured.lengths(target), nullable=nullable
    )
