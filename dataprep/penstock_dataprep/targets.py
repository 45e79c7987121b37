"""Resolve each column of the spec against the source's types: what a value must become to be a feature."""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from penstock_dataprep.spec import ColumnSpec, EntityHashSplit, NullDefault, Spec
from penstock_shared.errors import UserMistake
from penstock_shared.features import Role
from penstock_shared.strict import nearest

LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127
ARROW_TYPES: dict[str, pa.DataType] = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}


@dataclass(frozen=True)
class Target:
    """Say what one source column becomes: `dtype` is int64, float32 or string; `vocabulary` is set for tokens."""

    name: str
    source: str
    role: Role
    dtype: str
    is_list: bool
    vocabulary: str | None
    null: Literal["reject", "keep"] | NullDefault
    range: tuple[float, float] | None

    @property
    def value_type(self) -> pa.DataType:
        """Return the Arrow type of one value."""
        return ARROW_TYPES[self.dtype]

    @property
    def arrow_type(self) -> pa.DataType:
        """Return the Arrow type of the column."""
        return pa.list_(self.value_type) if self.is_list else self.value_type


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
    is_list = found is not None and (pa.types.is_list(found) or pa.types.is_large_list(found))
    value = _plain(found.value_type if is_list else found)  # type: ignore[union-attr]
    if is_list and (column.role != "feature" or column.null == "reject" or isinstance(column.null, NullDefault)):
        raise UserMistake(
            f"columns.{name}: {source!r} is a list in {where}; only a column with role feature and null: keep may be"
        )
    dtype = column.dtype or _default_dtype(column, value)
    if value is not None and not _can_become(value, dtype, column):
        raise UserMistake(
            f"columns.{name}: {source!r} has type {found} in {where}, which cannot become {dtype}; "
            f"expected {_acceptable(dtype)}, or set another dtype"
        )
    _check_default(name, column, dtype)
    vocabulary = column.vocabulary if isinstance(column.vocabulary, str) else name
    return Target(
        name=name,
        source=source,
        role=column.role,
        dtype=dtype,
        is_list=is_list,
        vocabulary=None if column.vocabulary is None else vocabulary,
        null=column.null_policy,
        range=column.range,
    )


def _plain(found: pa.DataType | None) -> pa.DataType | None:
    return found.value_type if found is not None and pa.types.is_dictionary(found) else found


def _is_text(found: pa.DataType) -> bool:
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _default_dtype(column: ColumnSpec, found: pa.DataType | None) -> str:
    if column.vocabulary is not None:
        return "int64" if found is not None and pa.types.is_integer(found) else "string"
    if column.role == "time":
        return "int64"
    is_float = found is None or pa.types.is_floating(found) or pa.types.is_decimal(found) or _is_text(found)
    return "float32" if is_float else "int64"


def _can_become(found: pa.DataType, dtype: str, column: ColumnSpec) -> bool:
    is_number = pa.types.is_integer(found) or pa.types.is_boolean(found)
    if dtype == "string":
        return _is_text(found) or is_number or bool(pa.types.is_binary(found))
    if dtype == "int64":
        is_moment = pa.types.is_timestamp(found) or pa.types.is_date(found)
        return is_number or bool(is_moment) or (pa.types.is_floating(found) and column.vocabulary is None)
    return is_number or bool(pa.types.is_floating(found) or pa.types.is_decimal(found))


def _acceptable(dtype: str) -> str:
    return {
        "string": "text, an integer or a boolean",
        "int64": "an integer, a boolean, a whole float, a timestamp or a date",
        "float32": "a number",
    }[dtype]


def _check_default(name: str, column: ColumnSpec, dtype: str) -> None:
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
