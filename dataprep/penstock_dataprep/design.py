"""Decide, from all that was measured, how the dataset is laid out: storage widths and shards."""

from dataclasses import dataclass
from itertools import accumulate
from typing import get_args

from penstock_dataprep.order.cells import cells_per_shard
from penstock_dataprep.order.shuffle import shard_count
from penstock_dataprep.order.split import SPLITS, wanted_splits
from penstock_dataprep.rows.transform import Measures, settle
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.statistics.facts import Facts
from penstock_dataprep.vocabularies.numbering import Numbering
from penstock_shared.features import Feature, Statistics
from penstock_shared.layout import WIDTH_BYTES, Column, IntegerStorage, Storage, narrowest_integer
from penstock_shared.transforms import Transform, ids_made


@dataclass(frozen=True)
class Design:
    """Hold the columns of a block, and the number of shards of each split; shards are numbered through the splits.

    `transforms` holds the settled transforms, by column. Rows are dealt to shards in `cells` cells each (see cells.py).
    """

    columns: tuple[Column, ...]
    shards: dict[str, int]
    transforms: dict[str, Transform]
    cells: int

    @property
    def first_shards(self) -> dict[str, int]:
        """Return the number of each split's first shard."""
        return dict(zip(self.shards, accumulate(self.shards.values(), initial=0), strict=False))

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
    measures: Measures,
    parent_features: tuple[Feature, ...],
) -> Design:
    """Choose storage widths and shard counts, and settle the transforms.

    A build that is appended stores nothing narrower than its parent, so that shards are of few different widths, which
    are read fastest; and what its parent measured for a transform stays, so that a value means the same in all shards.
    """
    transforms = settle_after(parent_features, targets, measures)
    columns = tuple(make_column(target, facts, numberings, transforms.get(target.name)) for target in targets)
    if parent_features:
        columns = tuple(widen(column, feature.column) for column, feature in zip(columns, parent_features, strict=True))
    list_bytes = sum(
        WIDTH_BYTES[column.storage] * (held.values + held.nulls) / max(1, held.rows)
        for column, held in ((column, facts.features[column.name]) for column in columns)
        if column.lengths
    )
    output = spec.output
    shards: dict[str, int] = {
        split: shard_count(rows_per_split.get(split, 0), columns, list_bytes, output.shard_bytes, output.rows_per_block)
        for split in SPLITS
        if split in wanted_splits(spec.split)
    }
    largest = max((rows_per_split.get(split, 0) // count for split, count in shards.items() if count), default=0)
    return Design(columns, shards, transforms, cells_per_shard(largest, sum(shards.values())))


def settle_after(
    parent_features: tuple[Feature, ...], targets: tuple[Target, ...], measures: Measures
) -> dict[str, Transform]:
    """Return the transforms of a parent's features as they are, or, without any, those that `measures` settle."""
    if parent_features:
        return {held.name: held.transform for held in parent_features if held.transform is not None}
    return settle(targets, measures)


def make_features(targets: tuple[Target, ...], design: Design, facts: Facts) -> tuple[Feature, ...]:
    """Return the manifest's description of the features, with what is known of them before rows are written."""
    return tuple(
        make_feature(target, column, design.transforms.get(target.name), facts.features[target.name].extent())
        for target, column in zip(targets, design.columns, strict=True)
    )


def make_feature(target: Target, column: Column, transform: Transform | None, statistics: Statistics) -> Feature:
    """Return the manifest's description of a feature."""
    dtype = "int32" if target.vocabulary is not None else "float32" if target.dtype == "float32" else "int64"
    return Feature(
        name=target.name,
        role=target.role,
        dtype=dtype,  # type: ignore[arg-type]
        storage=column.storage,
        lengths=column.lengths,
        nullable=column.nullable,
        vocabulary=target.vocabulary,
        shape=() if target.length is None else (target.length,),
        transform=transform,
        statistics=statistics,
    )


def widen(column: Column, other: Column) -> Column:
    """Return the narrowest column that holds what either of two columns of one feature holds."""
    wider = column if WIDTH_BYTES.get(column.lengths or "", 0) > WIDTH_BYTES.get(other.lengths or "", 0) else other
    storage = _wider(column.storage, other.storage)
    nullable = column.nullable or other.nullable
    return column.model_copy(update={"storage": storage, "lengths": wider.lengths, "nullable": nullable})


def _wider(one: Storage, other: Storage) -> Storage:
    """Return the narrowest storage that holds every number of both."""
    both = {one, other}
    if len(both) == 1:
        return one
    if both <= set(get_args(IntegerStorage)):
        return max(one, other, key=lambda storage: WIDTH_BYTES[storage])
    # Half floats hold every integer of 8 bits, and no wider ones.
    halves = both & {"f16", "bf16"}
    return halves.pop() if len(halves) == 1 and both <= {"u8", *halves} else "f32"


def make_column(target: Target, facts: Facts, numberings: dict[str, Numbering], transform: Transform | None) -> Column:
    """Return how a feature is stored: as narrow as what was measured allows."""
    measured = facts.features[target.name]
    ids = numberings[target.vocabulary].size if target.vocabulary is not None else ids_made(transform)
    storage: Storage
    if ids is not None:
        storage = narrowest_integer(0, ids - 1)
    else:
        storage = "f32" if target.is_measured else measured.storage(target)
    return Column(
        name=target.name,
        storage=storage,
        lengths=measured.lengths(target),
        nullable=measured.nulls > 0 and target.vocabulary is None and not target.is_list,
        values_per_row=target.length or 1,
    )
