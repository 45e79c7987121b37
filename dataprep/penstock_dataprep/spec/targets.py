"""Resolve each column of the spec against the source's types: what a value must become to be a feature."""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from penstock_dataprep.spec.columns import ColumnSpec, NullDefault
from penstock_dataprep.spec.spec import EntityHashSplit, Spec
from penstock_dataprep.transforms import Rule
from penstock_dataprep.transforms.time_part import TimePartRule
from penstock_shared.errors import UserMistake
from penstock_shared.features import Role
from penstock_shared.strict import nearest

LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127
ARROW_TYPES: dict[str, pa.DataType] = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}


@dataclass(frozen=True)
class Target:
    """Say what one source column becomes: `dtype` is int64, float32 or string; `vocabulary` is set for tokens.

    Where there is a `transform`, valid values are of dtype `taken`, from which it makes those of `dtype`.
    `length` is set for a column of lists that all are as long.
    """

    name: str
    source: str
    role: Role
    dtype: str
    is_list: bool
    vocabulary: str | None
    null: Literal["reject", "keep"] | NullDefault
    range: tuple[float, float] | None
    transform: Rule | None = None
    taken: str | None = None
    length: int | None = None

    @property
    def takes_lists(self) -> bool:
        """Tell whether the source's values are lists."""
        return (self.is_list and self.transform is None) or self.length is not None

    @property
    def is_measured(self) -> bool:
        """Tell whether training rows decide what its values become, which is only known after all rows were read."""
        return self.transform is not None and self.transform.is_measured

    @property
    def value_type(self) -> pa.DataType:
        """Return the Arrow type of one valid value."""
        return ARROW_TYPES[self.taken or self.dtype]

    @property
    def arrow_type(self) -> pa.DataType:
        """Return the Arrow type of the valid column."""
        return pa.list_(self.value_type) if self.takes_lists else self.value_type


def resolve_targets(spec: Spec, columns: dict[str, pa.DataType | None], where: str) -> tuple[Target, ...]:
    """Match the spec with a source's columns, in the spec's order.

    `columns` maps source names to Arrow types, None for text of no fixed type; `where` names the source.
    Raises UserMistake for a column that is not there, or whose type cannot become the one the spec asks for.
    """
    targets: list[Target] = []
    for name, column in spec.columns.items():
        source = spec.source_column(name)
        if source not in columns:
            raise UserMistake(f"columns.{name}: no column {source!r} in {where}; {nearest(source, columns)}")
        targets.append(_resolve(spec, name, column, source, columns[source], where))
    for target in targets:
        if target.is_list and isinstance(spec.split, EntityHashSplit) and spec.split.column == target.name:
            raise UserMistake(f"split.column: {target.source!r} is a list in {where}; expected one entity a row")
    dtypes: dict[str, Target] = {}
    for target in targets:
        first = dtypes.setdefault(target.vocabulary or f"column {target.name}", target)
        if first.dtype != target.dtype:
            raise UserMistake(
                f"columns.{target.name}: its tokens are {target.dtype}, but those of {first.name}, whose vocabulary it "
                f"shares, are {first.dtype} in {where}; give both the same dtype"
            )
    return tuple(targets)


def _resolve(spec: Spec, name: str, column: ColumnSpec, source: str, found: pa.DataType | None, where: str) -> Target:
    is_list = found is not None and _is_list(found)
    value = _plain(found.value_type if is_list else found)  # type: ignore[union-attr]
    if column.shape is not None and found is not None and not is_list:
        raise UserMistake(f"columns.{name}.shape: {source!r} has type {found} in {where}, expected lists of numbers")
    if is_list and column.shape is None:
        _check_list(name, column, source, where)
    dtype = column.dtype or _default_dtype(column, value)
    if value is not None and not _can_become(value, dtype, column):
        raise UserMistake(
            f"columns.{name}: {source!r} has type {found} in {where}, which cannot become {dtype}; "
            f"expected {_acceptable(dtype)}, or set another dtype"
        )
    transform = _settle_unit(name, column, value)
    allowed = _allowed(column, transform)
    _check_default(name, column, dtype, allowed)
    vocabulary = column.vocabulary if isinstance(column.vocabulary, str) else name
    return Target(
        name=name,
        source=source,
        role=column.role,
        dtype=transform.makes if transform else dtype,
        is_list=transform.makes_lists if transform else is_list and column.shape is None,
        vocabulary=None if column.vocabulary is None else vocabulary,
        null=column.null_policy,
        range=allowed,
        transform=transform,
        taken=dtype if transform else None,
        length=column.shape[0] if column.shape else None,
    )


def _check_list(name: str, column: ColumnSpec, source: str, where: str) -> None:
    if column.transform is not None:
        raise UserMistake(f"columns.{name}.transform: {source!r} is a list in {where}; expected one value a row")
    if column.role != "feature" or column.null == "reject" or isinstance(column.null, NullDefault):
        raise UserMistake(
            f"columns.{name}: {source!r} is a list in {where}; only a column with role feature and null: keep may be"
        )


def _settle_unit(name: str, column: ColumnSpec, found: pa.DataType | None) -> Rule | None:
    """Return the column's transform; timestamps and dates are read as microseconds, whatever their own unit."""
    if not isinstance(column.transform, TimePartRule) or found is None or not _is_moment(found):
        return column.transform
    if column.transform.unit not in (None, "us"):
        raise UserMistake(
            f"columns.{name}.transform.unit: found {column.transform.unit!r}, but the column has type {found}, whose "
            "unit is known; leave it out"
        )
    return column.transform.model_copy(update={"unit": "us"})


def _allowed(column: ColumnSpec, transform: Rule | None) -> tuple[float, float] | None:
    """Return the range of values that both the spec and the transform take."""
    ranges = [held for held in (column.range, transform.domain if transform else None) if held is not None]
    return (max(held[0] for held in ranges), min(held[1] for held in ranges)) if ranges else None


def _is_list(found: pa.DataType) -> bool:
    return bool(pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found))


def _is_moment(found: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(found) or pa.types.is_date(found))


def _plain(found: pa.DataType | None) -> pa.DataType | None:
    return found.value_type if found is not None and pa.types.is_dictionary(found) else found


def _is_text(found: pa.DataType) -> bool:
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _default_dtype(column: ColumnSpec, found: pa.DataType | None) -> str:
    if column.transform is not None and len(column.transform.takes) == 1:
        return column.transform.takes[0]
    if column.shape is not None:
        return "float32"
    if column.vocabulary is not None:
        return "int64" if found is not None and pa.types.is_integer(found) else "string"
    if column.role == "time":
        return "int64"
    is_float = found is None or pa.types.is_floating(found) or pa.types.is_decimal(found) or _is_text(found)
    return "float32" if is_float else "int64"


def _can_become(found: pa.DataType, dtype: str, column: ColumnSpec) -> bool:
    """Tell whether values of a type may become a dtype; text becomes numbers only where the spec asks for it."""
    is_number = pa.types.is_integer(found) or pa.types.is_boolean(found) or (_is_text(found) and column.dtype == dtype)
    if dtype == "string":
        return _is_text(found) or is_number or bool(pa.types.is_binary(found))
    if dtype == "int64":
        return is_number or _is_moment(found) or (pa.types.is_floating(found) and column.vocabulary is None)
    return is_number or bool(pa.types.is_floating(found) or pa.types.is_decimal(found))


def _acceptable(dtype: str) -> str:
    return {
        "string": "text, an integer or a boolean",
        "int64": "an integer, a boolean, a whole float, a timestamp or a date; dtype: int64 reads integers from text",
        "float32": "a number; dtype: float32 reads numbers from text",
    }[dtype]


def _check_default(name: str, column: ColumnSpec, dtype: str, allowed: tuple[float, float] | None) -> None:
    if not isinstance(column.null, NullDefault):
        return
    default: Any = column.null.default
    fits = {
        "string": isinstance(default, str),
        "int64": isinstance(default, int) and -(2**63) <= default < 2**63,
        "float32": isinstance(default, int | float) and abs(default) <= LARGEST_FLOAT32,
    }
    if not fits[dtype]:
        raise UserMistake(f"columns.{name}.null.default: found {default!r}, expected a {dtype} value like the column's")
    if allowed is not None and not allowed[0] <= default <= allowed[1]:
        raise UserMistake(f"columns.{name}.null.default: found {default!r}, expected a value in {list(allowed)}")
