"""Hold what is read of an Avro schema, and the environment asked for, to truth tables."""

import json

import pytest

from penstock_shared.errors import UserMistake
from penstock_training.peek.columns import Column, readable_columns
from penstock_training.peek.reader import refusal


def schema(kind: object) -> str:
    return json.dumps({"type": "record", "name": "__root__", "fields": [{"name": "a", "type": kind}]})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("long", Column("a", "INT64", "int64")),
        (["null", "long"], Column("a", "INT64", "int64", nullable=True)),
        (["null", "double"], Column("a", "FLOAT64", "float64", nullable=True)),
        ("boolean", Column("a", "BOOL", "bool")),
        ("bytes", Column("a", "BYTES", "string")),
        ({"type": "int", "logicalType": "date"}, Column("a", "DATE", "int32")),
        ({"type": "long", "logicalType": "time-micros"}, Column("a", "TIME", "int64")),
        (["null", {"type": "long", "logicalType": "timestamp-micros"}], Column("a", "TIMESTAMP", "int64", True)),
        ({"type": "string", "logicalType": "datetime"}, Column("a", "DATETIME", "string")),
        ({"type": "string", "sqlType": "JSON"}, Column("a", "JSON", "string")),
        ({"type": "array", "items": "long"}, Column("a", "INT64", "int64", repeated=True)),
        (["null", {"type": "array", "items": ["null", "string"]}], Column("a", "STRING", "string", repeated=True)),
    ],
)
def test_a_type_of_the_schema_is_a_tensor(kind: object, expected: Column) -> None:
    assert readable_columns(schema(kind), ["a"], "p.d.t") == [expected]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ({"type": "record", "name": "r", "fields": []}, "RECORD"),
        ({"type": "array", "items": {"type": "record", "name": "r", "fields": []}}, "ARRAY<RECORD>"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9}, "NUMERIC"),
        ({"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}}, "ARRAY<TIMESTAMP>"),
        ({"type": "array", "items": "bytes"}, "ARRAY<BYTES>"),
        (["null", {"type": "string", "sqlType": "INTERVAL"}], "INTERVAL"),
    ],
)
def test_what_cannot_be_read_is_refused_with_name_type_and_remedy(kind: object, shown: str) -> None:
    with pytest.raises(UserMistake) as refused:
        readable_columns(schema(kind), ["a"], "p.d.t")
    assert str(refused.value).startswith(f"p.d.t: column a is of type {shown}, which tensorflow-io cannot read")
    assert str(refused.value).endswith("or build a dataset with penstock-data, which reads more types")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UserMistake) as refused:
        readable_columns(schema({"type": "record", "name": "r", "fields": []}), ["a", "b"], "p.d.t")
    assert len(str(refused.value).splitlines()) == 2
    assert "p.d.t: has no column b" in str(refused.value)


@pytest.mark.parametrize(
    ("is_installed", "version", "expected"),
    [
        (False, None, "which is not installed; run pip install 'penstock-training[bigquery]'"),
        (False, "2.16.2", "which is not installed"),
        (True, None, None),
        (True, "2.16.2", None),
        (True, "2.17.1", "found TensorFlow 2.17.1, but tensorflow-io reads BigQuery beside 2.16 alone"),
        (True, "2.160.0", "found TensorFlow 2.160.0"),
    ],
)
def test_the_reader_is_asked_for_beside_the_tensorflow_it_fits(
    is_installed: bool, version: str | None, expected: str | None
) -> None:
    found = refusal(is_installed, version)
    assert found is None if expected is None else expected in str(found)
