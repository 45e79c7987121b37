"""Hold the spec to its rules: each fault is named by its path, with what was found and what is allowed."""

from typing import Any

import pytest
import yaml
from logs import PLAIN_COLUMNS, plain_spec

from penstock_dataprep.spec.columns import NullDefault
from penstock_dataprep.spec.spec import Spec, load_spec
from penstock_shared import UserMistake

ITEM = {"role": "item", "vocabulary": {}}
LOG = {"files": "log.parquet", "format": "parquet"}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the plain spec with the value at a path set (columns by /)."""
    document = yaml.safe_load(yaml.safe_dump(plain_spec("log.parquet")))
    *parents, last = path.split("/")
    inner = document
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = value
    return document


def load(document: dict[str, Any]) -> Spec:
    return load_spec("spec.yaml", yaml.safe_dump(document, sort_keys=False))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # (where, what, the message after "spec.yaml: ")
        ("name", "a/b", "name: found 'a/b', expected "),
        ("name", 3, "name: found 3, expected a valid string"),
        ("source/format", "avro", "source.format: found 'avro', expected 'parquet', 'csv' or 'jsonl'"),
        ("source/delimiter", "", "source.delimiter: found '', expected "),
        ("source/encoding", "utf-16", "expected encoding: one that extends ASCII"),
        ("source/file", "x", "source.file: unknown key 'file'; did you mean 'files'?"),
        ("source/files", 3, "source.files: found 3, expected "),
        ("columns", {}, "columns: found {}, expected "),
        ("columns/a b", {}, "columns.a b: found 'a b', expected String should match pattern"),
        (
            "columns/x",
            {"rol": "item"},
            "columns.x.rol: unknown key 'rol'; did you mean 'role'? known: dtype, from, null",
        ),
        (
            "columns/x",
            {"role": "thing"},
            "columns.x.role: found 'thing', expected 'user', 'item', 'label', 'time' or 'feature'",
        ),
        ("columns/x", {"dtype": "int32"}, "columns.x.dtype: found 'int32', expected 'int64', 'float32' or 'string'"),
        (
            "columns/x",
            {"dtype": "string"},
            "columns.x: found {'dtype': 'string'}, expected a vocabulary, because dtype is string",
        ),
        (
            "columns/item_id",
            {"role": "item"},
            "columns.item_id: found {'role': 'item'}, expected a vocabulary, because role is item",
        ),
        (
            "columns/item_id",
            {**ITEM, "dtype": "float32"},
            "expected dtype int64 or string for a column with a vocabulary",
        ),
        ("columns/item_id", {**ITEM, "range": [0, 1]}, "expected no range for a column with a vocabulary"),
        (
            "columns/timestamp",
            {"role": "time", "dtype": "float32"},
            "expected dtype int64 and no vocabulary for the time",
        ),
        (
            "columns/timestamp",
            {"role": "time", "vocabulary": {}},
            "expected dtype int64 and no vocabulary for the time",
        ),
        ("columns/rating/range", [5, 1], "expected range: [smallest, largest]"),
        ("columns/rating/range", [5], "columns.rating.range.1: missing; it is required"),
        ("columns/rating/null", "drop", "columns.rating.null: found 'drop', expected 'reject' or 'keep'"),
        ("columns/rating/null", {"default": 9}, "expected null.default in the range [0.0, 5.0]"),
        ("columns/rating/null", {"default": "x"}, "expected null.default in the range [0.0, 5.0]"),
        (
            "columns/item_id/vocabulary/min_count",
            0,
            "columns.item_id.vocabulary.min_count: found 0, expected greater than or equal to 1",
        ),
        ("columns/item_id/vocabulary/oov_buckets", 0, "oov_buckets: found 0, expected greater than or equal to 1"),
        ("columns/item_id/vocabulary/of", "test", "vocabulary.of: found 'test', expected 'train' or 'all'"),
        ("columns/item_id/vocabulary/encoding", "md5", "encoding: found 'md5', expected 'table' or 'hash'"),
        ("columns/item_id/vocabulary/min_cnt", 1, "min_cnt: unknown key 'min_cnt'; did you mean 'min_count'?"),
        (
            "columns/seen",
            {"vocabulary": "item"},
            "columns.seen.vocabulary: found 'item', expected rules or the name of a column with a "
            "vocabulary of its own; did you mean 'item_id'?",
        ),
        (
            "columns/seen",
            {"vocabulary": "seen"},
            "columns.seen.vocabulary: found 'seen', expected rules or the name of a column",
        ),
        (
            "columns/other",
            {"role": "user", "vocabulary": {}},
            "columns: user_id and other both have role user, expected at most one",
        ),
        ("columns/other", {"role": "time"}, "columns: timestamp and other both have role time, expected at most one"),
        (
            "columns/timestamp/null",
            "keep",
            "columns.timestamp.null: found keep, expected reject or default: split by time goes by time",
        ),
        (
            "tables",
            {"item_id": {"source": LOG, "key": "item", "columns": {"seen": {"role": "time", "null": "keep"}}}},
            "tables.item_id.columns.seen.null: found keep, expected reject or default: an entity's latest row counts",
        ),
        ("split", {"by": "random"}, "split.by: found 'random', expected 'time', 'leave_last', 'entity_hash'"),
        ("split", {"test_fraction": 0.1}, "split.by: missing; it is required"),
        ("split", {"by": "time"}, "split.test_fraction: missing; it is required"),
        (
            "split",
            {"by": "time", "test_fraction": 0.5, "validation_fraction": 0.5},
            "split: test_fraction and validation_fraction leave no rows to train on",
        ),
        (
            "split",
            {"by": "time", "test_fraction": -0.1},
            "split.test_fraction: found -0.1, expected greater than or equal to 0",
        ),
        ("split", {"by": "leave_last", "n": 0}, "split.n: found 0, expected greater than or equal to 1"),
        (
            "split",
            {"by": "entity_hash", "column": "usr_id", "fractions": {"train": 1}},
            "split.column: found 'usr_id', expected a column with a vocabulary; did you mean 'user_id'?",
        ),
        (
            "split",
            {"by": "entity_hash", "column": "rating", "fractions": {"train": 1}},
            "split.column: found 'rating', expected a column with a vocabulary",
        ),
        (
            "split",
            {"by": "entity_hash", "column": "user_id", "fractions": {"train": 0.5, "test": 0.4}},
            "expected fractions with train among them that add up to 1",
        ),
        (
            "split",
            {"by": "entity_hash", "column": "user_id", "fractions": {"validation": 0.5, "test": 0.5}},
            "expected fractions with train among them that add up to 1",
        ),
        (
            "split",
            {"by": "entity_hash", "column": "user_id", "fractions": {"train": 0.5, "tst": 0.5}},
            "split.fractions.tst: found 'tst'",
        ),
        ("shuffle/seed", -1, "shuffle.seed: found -1, expected greater than or equal to 0"),
        ("shuffle/seed", 2**63, "shuffle.seed: found 9223372036854775808, expected less than 9223372036854775808"),
        ("shuffle/seed", "17", "shuffle.seed: found '17', expected a valid integer"),
        ("output/layout", "tables", "output.layout: found 'tables', expected 'blocks' or 'examples'"),
        ("output/rows_per_block", 0, "output.rows_per_block: found 0, expected greater than or equal to 1"),
        (
            "output/shard_bytes",
            "128 MB/s",
            "output.shard_bytes: found '128 MB/s', expected a number of bytes with one of the units B, KiB",
        ),
        ("output/shard_bytes", "12 parsecs", "output.shard_bytes: found '12 parsecs', expected a number of bytes"),
        ("duplicates", "merge", "duplicates: found 'merge', expected 'keep' or 'drop'"),
        ("max_reject_fraction", 2, "max_reject_fraction: found 2, expected less than or equal to 1"),
    ],
)
def test_each_fault_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(UserMistake) as refusal:
        load(changed(path, value))
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("spec.yaml: ")


def test_a_key_that_comes_twice_is_refused() -> None:
    text = yaml.safe_dump(plain_spec("log.parquet"), sort_keys=False)
    twice = text.replace("  rating:\n", "  user_id: {role: item, vocabulary: {}}\n  rating:\n")
    line = 1 + twice.splitlines().index("  user_id: {role: item, vocabulary: {}}")
    with pytest.raises(UserMistake, match=rf"spec.yaml: not YAML: key 'user_id' comes twice[\s\S]* line {line},"):
        load_spec("spec.yaml", twice)


def test_all_faults_are_told_at_once() -> None:
    document = changed("output/layout", "tables")
    document["shuffle"]["seed"] = -1
    with pytest.raises(UserMistake) as refusal:
        load(document)
    assert [line.split(":")[1] for line in str(refusal.value).splitlines()] == [" shuffle.seed", " output.layout"]


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("timestamp", "split: by leave_last needs a column with role time; give one that role"),
        ("user_id", "split: by leave_last needs a column with role user; give one that role"),
    ],
)
def test_a_split_needs_its_roles(drop: str, message: str) -> None:
    document = changed("split", {"by": "leave_last"})
    del document["columns"][drop]
    with pytest.raises(UserMistake, match=message):
        load(document)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (1, 1),
        ("10", 10),
        ("10 B", 10),
        ("3KiB", 3072),
        ("128MiB", 2**27),
        (" 1 GB ", 10**9),
        ("2KB", 2000),
        ("5GiB", 5 * 2**30),
    ],
)
def test_sizes_are_read_with_their_units(written: Any, size: int) -> None:
    assert load(changed("output/shard_bytes", written)).output.shard_bytes == size


def test_defaults() -> None:
    spec = load(
        {
            "name": "n",
            "source": {"files": "f", "format": "csv"},
            "columns": {"t": {"role": "time"}, "x": {}},
            "split": {"by": "time", "test_fraction": 0.1},
        }
    )
    assert (spec.shuffle.seed, spec.output.layout, spec.output.rows_per_block, spec.duplicates) == (
        0,
        "blocks",
        8192,
        "keep",
    )
    assert (spec.output.shard_bytes, spec.max_reject_fraction, spec.source.delimiter) == (2**27, 0.01, ",")
    assert (spec.columns["t"].null_policy, spec.columns["x"].null_policy) == ("reject", "keep")
    assert load(changed("columns/rating/null", {"default": 3})).columns["rating"].null_policy == NullDefault(default=3)


def test_vocabularies_are_named_for_their_owner_wherever_they_are_shared() -> None:
    document = changed(
        "columns", {"seen": {"vocabulary": "item_id"}, **PLAIN_COLUMNS, "last": {"vocabulary": "item_id"}}
    )
    users = {name: users for name, (_, users) in load(document).vocabularies().items()}
    assert users == {"user_id": ("user_id",), "item_id": ("item_id", "seen", "last")}
