"""Hold the match of spec and source to its truth table: which type may become which dtype."""

from typing import Any

import pyarrow as pa
import pytest
import yaml
from logs import spec_of

from penstock_dataprep.spec.spec import load_spec
from penstock_dataprep.spec.targets import Target, resolve_targets
from penstock_shared import UserMistake

ANY_TEXT = None  # the type of a column whose values are text, row by row
TYPES: dict[str, pa.DataType | None] = {
    "int8": pa.int8(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "bool": pa.bool_(),
    "float16": pa.float16(),
    "float64": pa.float64(),
    "decimal": pa.decimal128(10, 2),
    "string": pa.string(),
    "large_string": pa.large_string(),
    "binary": pa.binary(),
    "timestamp": pa.timestamp("ns", "UTC"),
    "date": pa.date32(),
    "struct": pa.struct([("x", pa.int64())]),
    "text": ANY_TEXT,
}
TEXTS = ("string", "large_string", "text")
ACCEPTED = {
    # dtype of a number column -> the types that may become it
    "int64": {"int8", "int64", "uint64", "bool", "float16", "float64", "timestamp", "date", *TEXTS},
    "float32": {"int8", "int64", "uint64", "bool", "float16", "float64", "decimal", *TEXTS},
}
ACCEPTED_TOKENS = {
    "int64": {"int8", "int64", "uint64", "bool", "timestamp", "date", *TEXTS},
    "string": {"int8", "int64", "uint64", "bool", "binary", *TEXTS},
}


def resolve(columns: dict[str, Any], types: dict[str, Any], **changes: Any) -> tuple[Target, ...]:
    timed = {**columns, "t": {"role": "time"}}
    spec = load_spec("spec.yaml", yaml.safe_dump(spec_of("f", timed, **changes), sort_keys=False))
    return resolve_targets(spec, {**types, "t": pa.int64()}, "log.parquet")


@pytest.mark.parametrize("found", TYPES)
@pytest.mark.parametrize("dtype", ["int64", "float32", "string"])
@pytest.mark.parametrize("is_token", [False, True])
def test_which_type_may_become_which_dtype(found: str, dtype: str, is_token: bool) -> None:
    accepted = (ACCEPTED_TOKENS if is_token else ACCEPTED).get(dtype)
    if accepted is None:
        return  # The spec itself rules this pair out.
    column = {"dtype": dtype, **({"vocabulary": {}} if is_token else {})}
    for wrapped in (TYPES[found], None if TYPES[found] is None else pa.list_(TYPES[found])):
        if found in accepted:
            target = resolve({"x": column}, {"x": wrapped})[0]
            assert (target.dtype, target.is_list) == (dtype, wrapped is not TYPES[found] and wrapped is not None)
        else:
            with pytest.raises(
                UserMistake, match=f"columns.x: 'x' has type .* in log.parquet, which cannot become {dtype}; expected"
            ):
                resolve({"x": column}, {"x": wrapped})


@pytest.mark.parametrize(
    ("column", "found", "dtype"),
    [
        # (rules, source type, default dtype)
        ({}, pa.int32(), "int64"),
        ({}, pa.bool_(), "int64"),
        ({}, pa.float64(), "float32"),
        ({}, pa.decimal128(5, 1), "float32"),
        ({}, pa.timestamp("s"), "int64"),
        ({}, ANY_TEXT, "float32"),
        ({"role": "label"}, pa.int8(), "int64"),
        ({"vocabulary": {}}, pa.int16(), "int64"),
        ({"vocabulary": {}}, pa.string(), "string"),
        ({"vocabulary": {}}, pa.bool_(), "string"),
        ({"vocabulary": {}}, ANY_TEXT, "string"),
        ({"vocabulary": {}}, pa.dictionary(pa.int8(), pa.string()), "string"),
        ({"vocabulary": {}}, pa.dictionary(pa.int8(), pa.int64()), "int64"),
        ({}, pa.list_(pa.float32()), "float32"),
        ({"vocabulary": {}}, pa.large_list(pa.string()), "string"),
    ],
)
def test_default_dtypes(column: dict[str, Any], found: pa.DataType | None, dtype: str) -> None:
    assert resolve({"x": column}, {"x": found})[0].dtype == dtype


@pytest.mark.parametrize(
    ("columns", "types", "changes", "message"),
    [
        (
            {"rating": {}},
            {"ratings": pa.int64()},
            {},
            "columns.rating: no column 'rating' in log.parquet; did you mean 'ratings'?",
        ),
        (
            {"x": {"from": "usr"}},
            {"user": pa.int64()},
            {},
            "columns.x: no column 'usr' in log.parquet; did you mean 'user'?",
        ),
        (
            {"x": {"role": "label"}},
            {"x": pa.list_(pa.int64())},
            {},
            "'x' is a list in log.parquet; only a column with role feature and null: keep may be",
        ),
        (
            {"x": {}},
            {"x": pa.string()},
            {},
            "which cannot become float32; expected a number; dtype: float32 reads numbers from text",
        ),
        ({"x": {"null": "reject"}}, {"x": pa.list_(pa.int64())}, {}, "'x' is a list in log.parquet"),
        ({"x": {"null": {"default": 1}}}, {"x": pa.list_(pa.int64())}, {}, "'x' is a list in log.parquet"),
        (
            {"x": {"null": {"default": "a"}}},
            {"x": pa.int64()},
            {},
            "columns.x.null.default: found 'a', expected a int64 value",
        ),
        (
            {"x": {"null": {"default": 0.5}}},
            {"x": pa.int64()},
            {},
            "columns.x.null.default: found 0.5, expected a int64 value",
        ),
        (
            {"x": {"null": {"default": 2**63}}},
            {"x": pa.int64()},
            {},
            "columns.x.null.default: found 9223372036854775808, expected a int64",
        ),
        (
            {"x": {"null": {"default": 1e39}}},
            {"x": pa.float64()},
            {},
            "columns.x.null.default: found 1e+39, expected a float32 value",
        ),
        (
            {"x": {"vocabulary": {}, "null": {"default": 1}}},
            {"x": pa.string()},
            {},
            "columns.x.null.default: found 1, expected a string value",
        ),
        (
            {"x": {"vocabulary": {}}, "y": {"vocabulary": "x"}},
            {"x": pa.string(), "y": pa.int64()},
            {},
            "columns.y: its tokens are int64, but those of x, whose vocabulary it shares, are string in log.parquet",
        ),
        (
            {"x": {"vocabulary": {}}},
            {"x": pa.list_(pa.string())},
            {"split": {"by": "entity_hash", "column": "x", "fractions": {"train": 0.9, "test": 0.1}}},
            "split.column: 'x' is a list in log.parquet; expected one entity a row",
        ),
    ],
)
def test_what_does_not_fit_is_refused(columns: dict, types: dict, changes: dict, message: str) -> None:
    with pytest.raises(UserMistake) as refusal:
        resolve(columns, types, **changes)
    assert message in str(refusal.value)
