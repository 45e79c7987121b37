"""Define what a spec says of one column: where it comes from, what it is for, and which values it may have."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock_dataprep.transforms import TransformRule
from penstock_shared.features import Role
from penstock_shared.strict import Strict

ID_ROLES = ("user", "item")


class VocabularySpec(Strict):
    """Say which tokens get an id of their own, and over which rows they are counted.

    Copies that `duplicates: drop` leaves out later are counted.
    """

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
