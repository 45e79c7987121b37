"""Describe the features of a dataset: what the trainer sees, how it is stored, and what was measured."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock_shared.layout import Column, LengthStorage, Storage
from penstock_shared.strict import Strict
from penstock_shared.transforms import Transform, ids_made

Role = Literal["user", "item", "label", "time", "feature"]
DType = Literal["int32", "int64", "float32"]


class Statistics(Strict):
    """Hold what was measured over all written rows; numbers only where the feature is a number.

    `rows` counts rows, `nulls` rows without a value, `values` the values (list features have many to a row),
    `oov` the values outside the vocabulary. `mean` is rounded to 9 significant digits, so that it does not
    depend on the order of summation. `distinct` is an estimate (see penstock_shared.sketches) and `quantiles`, by name
    such as p50, are exact to a bucket of the merged histogram.
    """

    rows: int
    nulls: int
    values: int
    oov: int | None = None
    smallest: int | float | None = None
    largest: int | float | None = None
    mean: float | None = None
    longest: int | None = None
    distinct: int | None = None
    quantiles: dict[str, int | float] | None = None


class Feature(Strict):
    """Describe one feature; its position in the manifest is the position of its column in a block.

    `dtype` is what the trainer gets, `storage` what the shards hold. `vocabulary` names the vocabulary of an id
    feature, whose ids are int32, or int64 for a vocabulary past 2^31. A list feature has `lengths`, and is padded
    with `padding` when it is made dense. A feature of shape (d,) has d values in every row. `transform` is what was
    done to the values of its column; `ids` follows from it.
    """

    name: str
    role: Role
    dtype: DType
    storage: Storage
    lengths: LengthStorage | None = None
    nullable: bool = False
    vocabulary: str | None = None
    shape: tuple[()] | tuple[Annotated[int, Field(ge=2)]] = ()
    transform: Transform | None = None
    padding: int | float = 0
    statistics: Statistics

    @model_validator(mode="after")
    def _holds_together(self) -> "Feature":
        if self.storage in ("f16", "bf16", "f32") and self.dtype != "float32":
            raise ValueError(f"storage {self.storage} holds floats, but dtype is {self.dtype}")
        if self.lengths is not None and self.nullable:
            raise ValueError("a list feature cannot be nullable: a missing list is an empty one")
        if self.shape and (self.lengths is not None or self.nullable or self.vocabulary is not None):
            raise ValueError("neither lengths nor a vocabulary, and nullable false, for a feature with a shape")
        return self

    @property
    def ids(self) -> int | None:
        """Return how many ids, counted from 0, a feature without a vocabulary has by its transform, None for none."""
        return ids_made(self.transform)

    @property
    def column(self) -> Column:
        """Return how the feature lies in a block."""
        return Column(
            name=self.name,
            storage=self.storage,
            lengths=self.lengths,
            nullable=self.nullable,
            values_per_row=self.shape[0] if self.shape else 1,
        )
