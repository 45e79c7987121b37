"""Hold validation to its truth tables: what becomes of each value, and where each fault was found."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.rows.validate import validate
from penstock_dataprep.sources import SourceBatch
from penstock_dataprep.spec.columns import NullDefault
from penstock_dataprep.spec.targets import Target

NAN, INF = float("nan"), float("inf")


def target(dtype: str = "int64", null: Any = "keep", **rules: Any) -> Target:
    held = {"name": "x", "source": "x", "role": "feature", "is_list": False, "vocabulary": None, "range": None}
    return Target(dtype=dtype, null=null, **{**held, **rules})


def checked(array: pa.Array, *targets: Target) -> tuple[list[Any], list[tuple[Any, ...]]]:
    """Return (values of the valid rows, (row, reason, value) of the rejected ones)."""
    batch = pa.RecordBatch.from_arrays([array], names=["x"])
    valid, rejects = validate(SourceBatch("log", batch, np.arange(len(array))), targets)
    assert valid.column(0).type == targets[0].arrow_type
    return valid.column(0).to_pylist(), [(row["row"], row["reason"], row["value"]) for row in rejects.to_pylist()]


@pytest.mark.parametrize(
    ("values", "kind", "rules", "valid", "rejected"),
    [
        # (values, their type, rules, values that pass, (row, reason, value) of those that do not)
        ([1, None, 3], pa.int64(), {"null": "keep"}, [1, None, 3], []),
        ([1, None, 3], pa.int64(), {"null": "reject"}, [1, 3], [(2, "null", "None")]),
        ([1, None, 3], pa.int64(), {"null": NullDefault(default=7)}, [1, 7, 3], []),
        ([1.5, NAN, None], pa.float64(), {"dtype": "float32", "null": "keep"}, [1.5, None, None], []),
        (
            [1.5, NAN, None],
            pa.float32(),
            {"dtype": "float32", "null": "reject"},
            [1.5],
            [(2, "null", "nan"), (3, "null", "None")],
        ),
        ([1.5, NAN], pa.float16(), {"dtype": "float32", "null": NullDefault(default=0)}, [1.5, 0.0], []),
        ([1.0, NAN], pa.float64(), {}, [1, None], []),
        ([1.5, INF, -INF], pa.float64(), {"dtype": "float32"}, [1.5], [(2, "type", "inf"), (3, "type", "-inf")]),
        ([1.5, INF], pa.float32(), {"dtype": "float32"}, [1.5], [(2, "type", "inf")]),
        ([1e38, 1e39], pa.float64(), {"dtype": "float32"}, [float(np.float32(1e38))], [(2, "type", "1e+39")]),
        ([1.0, 2.5, -3.0], pa.float64(), {}, [1, -3], [(2, "type", "2.5")]),
        ([1e19, 3.0], pa.float64(), {}, [3], [(1, "type", "1e+19")]),
        ([2**63 - 1, 2**63, 0], pa.uint64(), {}, [2**63 - 1, 0], [(2, "type", str(2**63))]),
        ([2**63], pa.uint64(), {"dtype": "float32"}, [2.0**63], []),
        ([2**24 + 1], pa.int64(), {"dtype": "float32"}, [2.0**24], []),
        ([True, False, None], pa.bool_(), {}, [1, 0, None], []),
        ([True, None], pa.bool_(), {"dtype": "float32"}, [1.0, None], []),
        (
            ["1", "-2", "x", "2.5", "", None],
            pa.string(),
            {},
            [1, -2, None],
            [(3, "type", "x"), (4, "type", "2.5"), (5, "type", "")],
        ),
        (
            ["1", "2.5", "nan", "inf", "x"],
            pa.string(),
            {"dtype": "float32"},
            [1.0, 2.5, None],
            [(4, "type", "inf"), (5, "type", "x")],
        ),
        ([1, None], pa.int32(), {"dtype": "string"}, ["1", None], []),
        ([b"ok", b"\xff"], pa.binary(), {"dtype": "string"}, ["ok"], [(2, "type", "b'\\xff'")]),
        (["a", "b"], pa.large_string(), {"dtype": "string"}, ["a", "b"], []),
        ([None, None], pa.null(), {}, [None, None], []),
        ([None, None], pa.null(), {"null": "reject"}, [], [(1, "null", "None"), (2, "null", "None")]),
        ([1_500_000_000], pa.timestamp("s"), {}, [1_500_000_000_000_000], []),
        ([1_500_000_000_123_456_789], pa.timestamp("ns", "Europe/Athens"), {}, [1_500_000_000_123_456], []),
        ([-1], pa.timestamp("ns"), {}, [0], []),
        ([1, None], pa.date32(), {}, [86_400_000_000, None], []),
        ([2**31 - 1, 1], pa.date32(), {}, [86_400_000_000], [(1, "type", "<value out of range: 2147483647>")]),
        # Seconds of which int64 holds the microseconds, and others that would wrap.
        (
            [9_223_372_036_854, -9_223_372_036_854],
            pa.timestamp("s"),
            {},
            [9223372036854000000, -9223372036854000000],
            [],
        ),
        (
            [9_223_372_036_855, None, 1],
            pa.timestamp("s"),
            {},
            [None, 1000000],
            [(1, "type", "<value out of range: 9223372036855>")],
        ),
        ([-(2**63), 1], pa.timestamp("us"), {}, [-(2**63), 1], []),
        ([1, 5, 9, None], pa.int64(), {"range": (2, 8)}, [5, None], [(1, "range", "1"), (3, "range", "9")]),
        (
            [0.9, 1.0, 5.0, 5.1],
            pa.float64(),
            {"dtype": "float32", "range": (1, 5)},
            [1.0, 5.0],
            [(1, "range", "0.9"), (4, "range", "5.1")],
        ),
        ([5, None], pa.int64(), {"range": (2, 8), "null": "reject"}, [5], [(2, "null", "None")]),
        (
            [1_500_000_000_123_456_789],
            pa.timestamp("ns"),
            {"range": (0, 1)},
            [],
            [(1, "range", "2017-07-14 02:40:00.123456789")],
        ),
        # Integers that float64 does not hold, which Arrow does not compare with floats.
        (
            [2**53 + 1, -(2**63), 2**63 - 1, 0, None],
            pa.int64(),
            {"range": (-0.5, 2.0**60)},
            [2**53 + 1, 0, None],
            [(2, "range", str(-(2**63))), (3, "range", str(2**63 - 1))],
        ),
        ([2**63 - 1, -1], pa.int64(), {"range": (0, INF)}, [2**63 - 1], [(2, "range", "-1")]),
    ],
)
def test_what_becomes_of_each_value(values: list, kind: pa.DataType, rules: dict, valid: list, rejected: list) -> None:
    array = pa.array(np.array(values, np.float16)) if kind == pa.float16() else pa.array(values, kind)
    assert checked(array, target(**rules)) == (valid, rejected)
    if not pa.types.is_null(kind) and kind != pa.float16():
        coded = pa.array(values, kind).dictionary_encode()
        assert checked(coded, target(**rules)) == (valid, rejected)


@pytest.mark.parametrize(
    ("values", "inner", "rules", "valid", "rejected"),
    [
        ([[1, 2], [], None], pa.int64(), {}, [[1, 2], [], []], []),
        ([[1, None], [3]], pa.int64(), {}, [[3]], [(1, "null", "[1, None]")]),
        ([["a", None], None], pa.string(), {"dtype": "string", "vocabulary": "x"}, [["a", None], []], []),
        ([[1.0, 2.5], [2.0]], pa.float64(), {}, [[2]], [(1, "type", "[1.0, 2.5]")]),
        (
            [[1.5, NAN], [INF], [2.5]],
            pa.float64(),
            {"dtype": "float32"},
            [[2.5]],
            [(1, "null", "[1.5, nan]"), (2, "type", "[inf]")],
        ),
        ([[1, 9], [2, 3], []], pa.int8(), {"range": (0, 5)}, [[2, 3], []], [(1, "range", "[1, 9]")]),
        ([[], None], pa.null(), {}, [[], []], []),
    ],
)
@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_lists(kind: Any, values: list, inner: pa.DataType, rules: dict, valid: list, rejected: list) -> None:
    padded = pa.array([[], *values, []], kind(inner))
    assert checked(padded.slice(1, len(values)), target(is_list=True, **rules)) == (valid, rejected)


def test_a_list_of_codes_and_a_column_that_holds_no_lists() -> None:
    coded = pa.array([["a", "b"], ["a"]], pa.list_(pa.string()))
    coded = pa.ListArray.from_arrays(coded.offsets, coded.flatten().dictionary_encode())
    rules = target("string", is_list=True, vocabulary="x")
    assert checked(coded, rules) == ([["a", "b"], ["a"]], [])
    assert checked(pa.nulls(2), rules) == ([[], []], [])
    assert checked(pa.array(["a", None]), rules) == ([[]], [(1, "type", "a")])


def test_the_first_fault_of_a_row_is_the_one_told() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [None, 1, 9, None], "b": ["x", "x", "3", "4"]})
    targets = (
        target(name="a", source="a", null="reject", range=(0, 5)),
        target(name="b", source="b"),
    )
    valid, rejects = validate(SourceBatch("log", batch, np.array([10, 20, 30, 40])), targets)
    assert valid.num_rows == 0
    assert [tuple(row.values()) for row in rejects.to_pylist()] == [
        ("log", 11, "a", "null", "None"),
        ("log", 21, "b", "type", "x"),
        ("log", 31, "a", "range", "9"),
        ("log", 41, "a", "null", "None"),
    ]


def test_malformed_lines_are_rejects_too_and_long_values_are_cut() -> None:
    batch = pa.RecordBatch.from_pydict({"x": ["y" * 500]})
    source = SourceBatch("log", batch, np.array([1]), ((0, "no row at all"),))
    _, rejects = validate(source, (target(),))
    assert [tuple(row.values()) for row in rejects.to_pylist()] == [
        ("log", 1, None, "malformed", "no row at all"),
        ("log", 2, "x", "type", "y" * 200),
    ]


@given(st.lists(st.one_of(st.none(), st.integers(-50, 50).map(str), st.text(max_size=3)), max_size=80))
def test_text_becomes_integers_as_one_by_one(values: list[str | None]) -> None:
    valid, rejected = checked(pa.array(values, pa.string()), target())
    alone = [checked(pa.array([value], pa.string()), target()) for value in values]
    assert valid == [value for held, _ in alone for value in held]
    assert [row for row, _, _ in rejected] == [place + 1 for place, (_, found) in enumerate(alone) if found]
    for value, (held, found) in zip(values, alone, strict=True):
        if value is not None and value.lstrip("-").isascii() and value.lstrip("-").isdigit() and value.count("-") < 2:
            assert (held, found) == ([int(value)], [])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_of_parquet_that_is_none_is_rejected(kind: pa.DataType) -> None:
    raw = pa.array(
        [b"a", b"\xffb", None, "é".encode()], pa.large_binary() if kind == pa.large_string() else pa.binary()
    )
    found = checked(raw.view(kind), target(dtype="string"))
    assert found == (["a", None, "é"], [(2, "type", "b'\\xffb'")])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 4], pa.int32()), raw.view(kind))
    found = checked(lists, target(dtype="string", is_list=True, vocabulary="x"))
    assert found == ([["a"], [None, "é"]], [(2, "type", "bytes that are no UTF-8")])
