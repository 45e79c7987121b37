"""Peek at tables of the emulator with tensorflow-io, in the environment it needs, as a user would."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from emulator import DATASET, Emulator
from emulators.bigquery_v1beta1 import Translator
from google.cloud.bigquery import SchemaField, Table
from test_types import ROWS as ROWS_OF_ALL_TYPES
from test_types import SCHEMA as ALL_TYPES

# TensorFlow takes seconds to start: all commands run in one process, before the first test looks at what they said.
RUN = """
import contextlib, io, json, sys
from penstock_training.cli import main
answers = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["peek", *arguments])
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""
RECIPE = """
task: rating
model: {kind: matrix_factorisation, dimension: 4}
loss: {kind: squared_error}
training: {epochs: 1, batch_rows: 64}
"""
EVENTS = 3000
# Past a megabyte the emulator gives several streams.
MANY = 60_000
COMMANDS = {
    "all": ["--bigquery", f"{DATASET}.peeked", "--columns", "user,item,rating,ok,at,tags", "--rows", "5000", "--json"],
    "few": ["--bigquery", f"{DATASET}.peeked", "--columns", "item", "--rows", "100", "--json"],
    "where": ["--bigquery", f"{DATASET}.peeked", "--columns", "item,rating", "--where", "item < 10", "--json"],
    "many": ["--bigquery", f"{DATASET}.peeked_many", "--columns", "user,item", "--rows", str(MANY), "--json"],
    "none": ["--bigquery", f"{DATASET}.peeked", "--columns", "item", "--where", "item < 0"],
    "empty": ["--bigquery", f"{DATASET}.peeked_empty", "--columns", "a"],
    "types": ["--bigquery", f"{DATASET}.peeked_types", "--columns", "k,f,b,s,y,d,t,ts,j"],
    "unread": ["--bigquery", f"{DATASET}.peeked_types", "--columns", "k,n,event,seen"],
    "no column": ["--bigquery", f"{DATASET}.peeked", "--columns", "item,absent"],
    "trial": [
        *["--bigquery", f"{DATASET}.peeked", "--columns", "user=user,item=item,rating=label", "--rows", "1000"],
        *["--recipe", "RECIPE", "--json"],
    ],
    "no role": ["--bigquery", f"{DATASET}.peeked", "--columns", "user=user,item", "--recipe", "RECIPE"],
    "forbidden": ["--bigquery", f"{DATASET}.forbidden", "--columns", "item"],
    "no table": ["--bigquery", f"{DATASET}.absent", "--columns", "item"],
}


class Answer(NamedTuple):
    """Hold what a command left."""

    code: int
    out: str
    err: str

    def column(self, name: str) -> dict[str, Any]:
        """Return what is said of a column."""
        return next(column for column in json.loads(self.out)["columns"] if column["name"] == name)


def events() -> dict[str, list[Any]]:
    places = range(EVENTS)
    return {
        "user": [None if place % 10 == 0 else f"user-{place % 7}" for place in places],
        "item": list(places),
        "rating": [None if place % 3 == 0 else float("nan") if place % 3 == 1 else place % 5 for place in places],
        # The values that stand for a null in the reader are values here.
        "ok": [None if place == 5 else place % 2 == 0 for place in places],
        "at": [1_700_000_000_000_000 + place for place in places],
        "tags": [["x"] * (place % 4) for place in places],
    }


@pytest.fixture(scope="module")
def translator(emulator: Emulator) -> Iterator[Translator]:
    running = Translator(emulator.storage)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def answers(
    emulator: Emulator,
    translator: Translator,
    peek_python: Path,
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Answer]:
    """Make the tables, and run every command on them."""
    kinds = [pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("us", "UTC"), pa.list_(pa.string())]
    arrays = [pa.array(values, kind) for values, kind in zip(events().values(), kinds, strict=True)]
    emulator.load("peeked", pa.table(arrays, names=list(events())))
    many = {"user": [None if n % 10 == 0 else f"user-{n}" for n in range(MANY)], "item": list(range(MANY))}
    emulator.load("peeked_many", pa.table(many))
    emulator.client.create_table(Table(f"{DATASET}.peeked_empty", schema=[SchemaField("a", "STRING")]))
    emulator.client.create_table(Table(f"{DATASET}.peeked_types", schema=ALL_TYPES))
    emulator.sql(f"INSERT INTO `{DATASET}.peeked_types` VALUES {ROWS_OF_ALL_TYPES}")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPATH": f"{repository / 'shared'}{os.pathsep}{repository / 'training'}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": translator.address,
    }
    recipe = tmp_path_factory.mktemp("peek") / "recipe.yaml"
    recipe.write_text(RECIPE)
    commands = [[str(recipe) if word == "RECIPE" else word for word in command] for command in COMMANDS.values()]
    done = subprocess.run(
        [peek_python, "-c", RUN],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    said = json.loads(done.stdout.splitlines()[-1])
    return {name: Answer(*answer) for name, answer in zip(COMMANDS, said, strict=True)}


@pytest.mark.slow
def test_every_column_is_described_as_the_table_has_it(answers: dict[str, Answer]) -> None:
    answer = answers["all"]
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)["rows"] == EVENTS
    user, item, rating = (answer.column(name) for name in ("user", "item", "rating"))
    assert (user["type"], user["dtype"], user["nulls"], user["values"], user["distinct"]) == (
        "STRING",
        "string",
        300,
        2700,
        7,
    )
    counts = {f"user-{rest}": sum(1 for at in range(EVENTS) if at % 7 == rest and at % 10) for rest in range(7)}
    most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    assert user["top"] == [list(pair) for pair in most]
    assert (item["nulls"], item["smallest"], item["largest"], item["mean"]) == (0, 0, 2999, 1499.5)
    assert item["top"] == []
    assert (rating["nulls"], rating["nans"], rating["values"]) == (1000, 1000, 1000)
    held = [place % 5 for place in range(EVENTS) if place % 3 == 2]
    assert rating["mean"] == pytest.approx(sum(held) / len(held))
    assert (rating["smallest"], rating["largest"], rating["distinct"]) == (0.0, 4.0, 5)


@pytest.mark.slow
def test_nulls_are_told_from_the_values_that_stand_for_them(answers: dict[str, Answer]) -> None:
    ok = answers["all"].column("ok")
    assert (ok["nulls"], ok["values"], ok["distinct"]) == (1, 2999, 2)
    assert ok["top"] == [[True, 1500], [False, 1499]]


@pytest.mark.slow
def test_both_readings_of_several_streams_are_in_one_order(answers: dict[str, Answer], translator: Translator) -> None:
    assert translator.streams["peeked_many"] == 4
    user, item = (answers["many"].column(name) for name in ("user", "item"))
    assert (user["nulls"], user["distinct"]) == (MANY // 10, MANY - MANY // 10)
    assert (item["nulls"], item["distinct"]) == (0, MANY)


@pytest.mark.slow
def test_moments_and_lists_are_told_as_such(answers: dict[str, Answer]) -> None:
    at, tags = (answers["all"].column(name) for name in ("at", "tags"))
    assert (at["type"], at["dtype"]) == ("TIMESTAMP", "int64")
    assert (at["smallest"], at["largest"]) == ("2023-11-14T22:13:20.000000", "2023-11-14T22:13:20.002999")
    assert (tags["type"], tags["values"], tags["longest"], tags["distinct"]) == ("ARRAY<STRING>", 4500, 3, 1)


@pytest.mark.slow
def test_examples_are_rows_of_the_table(answers: dict[str, Answer]) -> None:
    examples = json.loads(answers["all"].out)["examples"]
    assert len(examples) == 5
    table = events()
    for row in examples:
        place = row["item"]
        assert row["user"] == table["user"][place]
        assert row["tags"] == table["tags"][place]
        expected = table["rating"][place]
        assert row["rating"] == ("nan" if expected is not None and expected != expected else expected)


@pytest.mark.slow
def test_rows_are_as_many_as_asked_for_and_fit_the_condition(answers: dict[str, Answer]) -> None:
    assert json.loads(answers["few"].out)["rows"] == 100
    assert json.loads(answers["where"].out)["rows"] == 10
    assert answers["where"].column("item")["largest"] == 9
    assert answers["where"].column("rating")["nulls"] == 4


@pytest.mark.slow
def test_every_type_that_is_read_is_printed_for_people(answers: dict[str, Answer]) -> None:
    code, out, err = answers["types"]
    assert (code, err) == (0, "")
    assert out.startswith(f"{DATASET}.peeked_types: 3 rows in ")
    kinds = {line.split()[0]: line.split()[1] for line in out.splitlines()[3:12]}
    assert kinds == {
        "k": "INT64",
        "f": "FLOAT64",
        "b": "BOOL",
        "s": "STRING",
        "y": "BYTES",
        "d": "DATE",
        "t": "TIME",
        "ts": "TIMESTAMP",
        "j": "STRING",  # The emulator says no more of JSON.
    }
    rows = [line.split() for line in out.splitlines()[-3:]]
    moment = "2026-01-02T03:04:05.000006"
    assert rows[0] == ["1", "1.5", "true", "é", "ab", "2026-01-02", "3723000000", moment, '{"a":1}']
    assert rows[1][1:] == ["null"] * 8


@pytest.mark.slow
def test_a_recipe_takes_its_first_steps_on_the_rows(answers: dict[str, Answer]) -> None:
    code, out, err = answers["trial"]
    assert (code, err) == (0, "")
    read, trial = json.loads(out), json.loads(out)["trial"]
    assert read["rows"] == 1000
    assert trial["rows"] + trial["left_out"] == 1000
    assert (trial["steps"], trial["batch_rows"], trial["users"]) == (20, 64, 7)
    assert trial["items"] == trial["rows"]  # Each event is about an item of its own.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("unread", ("column n is of type NUMERIC", "column event is of type RECORD", "seen is of type ARRAY<RECORD>")),
        ("no column", ("test.shop.peeked", "absent")),
        (
            "no table",
            ("test.shop.absent: BigQuery refused it", "expected PROJECT.DATASET.TABLE of a table"),
        ),
        ("none", ("test.shop.peeked: has no rows for which item < 0 holds",)),
        ("empty", ("test.shop.peeked_empty: has no rows; there is nothing to look at",)),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(answers: dict[str, Answer], name: str, parts: tuple[str, ...]) -> None:
    code, out, err = answers[name]
    assert (code, out) == (2, "")
    assert err.startswith("penstock-train: ")
    assert all(part in err for part in parts), err
