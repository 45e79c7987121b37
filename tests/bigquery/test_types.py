"""Hold the types of BigQuery to what becomes of them: all scalars, lists of them, fields of records, nulls."""

import datetime
import decimal

import pyarrow as pa
import pytest
from emulator import DATASET, Emulator
from front import Front
from google.cloud.bigquery import SchemaField, Table
from test_read import bigquery_spec, read

from penstock_dataprep.rows.validate import convert
from penstock_dataprep.sources.bigquery.batch import RawBatch
from penstock_dataprep.sources.bigquery.columns import ARROW_TYPES, read_columns

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
SCHEMA = [
    SchemaField("k", "INTEGER", "REQUIRED"),
    SchemaField("f", "FLOAT"),
    SchemaField("n", "NUMERIC"),
    SchemaField("b", "BOOLEAN"),
    SchemaField("s", "STRING"),
    SchemaField("y", "BYTES"),
    SchemaField("d", "DATE"),
    SchemaField("dt", "DATETIME"),
    SchemaField("t", "TIME"),
    SchemaField("ts", "TIMESTAMP"),
    SchemaField("j", "JSON"),
    SchemaField("g", "GEOGRAPHY"),
    SchemaField("li", "INTEGER", "REPEATED"),
    SchemaField("lt", "TIME", "REPEATED"),
    SchemaField("iv", "INTERVAL"),
    SchemaField(
        "event",
        "RECORD",
        fields=[
            SchemaField("item_id", "STRING"),
            SchemaField("unused", "STRING"),
            SchemaField("tags", "STRING", "REPEATED"),
            SchemaField("place", "RECORD", fields=[SchemaField("country", "STRING"), SchemaField("n", "INTEGER")]),
        ],
    ),
    SchemaField(
        "seen",
        "RECORD",
        "REPEATED",
        fields=[
            SchemaField("id", "STRING"),
            SchemaField("spot", "RECORD", fields=[SchemaField("n", "INTEGER")]),
            SchemaField("tags", "STRING", "REPEATED"),
        ],
    ),
]
ROWS = """
(1, 1.5, NUMERIC '12.25', TRUE, 'é', b'ab', DATE '2026-01-02', DATETIME '2026-01-02 03:04:05.000006', TIME '01:02:03',
 TIMESTAMP '2026-01-02 03:04:05.000006+00', JSON '{"a":1}', ST_GEOGPOINT(1, 2), [1, 2], [TIME '00:00:01'],
 INTERVAL 1 DAY,
 STRUCT('i' AS item_id, 'u' AS unused, ['x', 'y'] AS tags, STRUCT('de' AS country, 7 AS n) AS place),
 [STRUCT('p' AS id, STRUCT(1 AS n) AS spot, ['a'] AS tags), STRUCT('q' AS id, NULL AS spot, ['b'] AS tags)]),
(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, [], NULL, NULL, NULL, []),
(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, [], NULL,
 STRUCT(NULL AS item_id, NULL AS unused, [] AS tags, NULL AS place), NULL)
"""
MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, 6)
# What a column gives in the three rows, as it is read.
EXPECTED = [
    ("k", [1, 2, 3]),
    ("f", [1.5, None, None]),
    ("n", [decimal.Decimal("12.25"), None, None]),
    ("b", [True, None, None]),
    ("s", ["é", None, None]),
    ("y", [b"ab", None, None]),
    ("d", [datetime.date(2026, 1, 2), None, None]),
    ("dt", [MOMENT, None, None]),
    ("t", [3723 * 10**6, None, None]),
    ("ts", [MOMENT.replace(tzinfo=datetime.timezone.utc), None, None]),
    ("j", ['{"a":1}', None, None]),
    ("g", ["POINT(1 2)", None, None]),
    ("li", [[1, 2], [], None]),
    ("lt", [[10**6], None, []]),
    ("event.item_id", ["i", None, None]),
    ("event.tags", [["x", "y"], None, []]),
    ("event.place.country", ["de", None, None]),
    ("event.place.n", [7, None, None]),
    ("seen.id", [["p", "q"], [], None]),
    ("seen.spot.n", [[1, None], [], None]),
]


@pytest.fixture(scope="module")
def table(emulator: Emulator) -> str:
    name = f"{DATASET}.types"
    emulator.client.create_table(Table(name, schema=SCHEMA))
    emulator.sql(f"INSERT INTO `{name}` VALUES {ROWS}")
    return name


def test_every_type_is_read_as_its_arrow_type_and_nulls_stay_nulls(front: Front, table: str, tmp_path) -> None:
    names = [name for name, _ in EXPECTED]
    found, _ = read(bigquery_spec(table, {"k": {"role": "time"}}), names, tmp_path)
    found = found.sort_by("k")
    assert {name: found.column(name).to_pylist() for name in names} == dict(EXPECTED)
    described = read_columns(SCHEMA)
    for name in names:
        expected = described[name].arrow
        if name != "n":  # The emulator keeps decimals in fewer digits.
            assert found.schema.field(name).type.equals(expected, check_metadata=False) or pa.types.is_list(expected)
    assert sorted(front.sessions[-1].read_options.selected_fields) == sorted(names)


def test_fields_of_records_are_named_by_their_path() -> None:
    found = read_columns(SCHEMA)
    assert {name: (found[name].type, found[name].arrow) for name in ("event.place.n", "event.tags", "seen.spot.n")} == {
        "event.place.n": ("INT64", pa.int64()),
        "event.tags": ("ARRAY<STRING>", pa.list_(pa.string())),
        "seen.spot.n": ("ARRAY<INT64>", pa.list_(pa.int64())),
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("event", "take one of its fields: event.item_id, event.unused, event.tags, event.place"),
        ("seen.spot", "take one of its fields: seen.spot.n"),
        ("seen.tags", "read a query that joins it with UNNEST"),
        ("iv", "read a query that takes a number of it, such as EXTRACT(DAY FROM iv)"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(name: str, reason: str) -> None:
    assert read_columns(SCHEMA)[name].reason == reason
    assert read_columns(SCHEMA)[name].arrow is None


def test_both_names_of_a_type_mean_the_same() -> None:
    for old, new in (("INTEGER", "INT64"), ("FLOAT", "FLOAT64"), ("BOOLEAN", "BOOL")):
        assert read_columns([SchemaField("a", old)]) == read_columns([SchemaField("a", new)])
    (column,) = read_columns([SchemaField("a", "RANGE", range_element_type="DATE")]).values()
    assert column.reason == "read a query that takes RANGE_START(a) or RANGE_END(a)"


@pytest.mark.parametrize("kind", ["NUMERIC", "BIGNUMERIC"])
def test_decimals_become_numbers(kind: str) -> None:
    """The emulator has no BIGNUMERIC, so its messages are made here."""
    values = pa.array([decimal.Decimal("2.5"), None, decimal.Decimal("-0.125")], ARROW_TYPES[kind])
    batch = pa.RecordBatch.from_arrays([values], names=["n"])
    raw = RawBatch("t", batch.schema.serialize().to_pybytes(), (batch.serialize().to_pybytes(),), 3, 0, ("n",))
    numbers, wrong = convert(raw.decode().batch.column("n"), pa.float32())
    assert numbers.to_pylist() == [2.5, None, -0.125]
    assert wrong is None
