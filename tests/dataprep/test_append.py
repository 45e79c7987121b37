"""Hold appended versions to a plain Python account of which tokens, ids and rows they must hold."""

import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import (
    RICH_COLUMNS,
    TEST_FRACTION,
    Built,
    build,
    contents,
    id_of,
    left_behind,
    plain_log,
    ranked,
    rich_log,
    rich_spec,
    rows_of,
    run,
    spec_of,
    vocabulary_tokens,
    write_parquet,
    write_spec,
)

from penstock_dataprep import counting, known, numbering, vocabulary
from penstock_dataprep.counting import count_table, merge_counts
from penstock_dataprep.design import widen
from penstock_dataprep.hashing import fingerprint_tokens
from penstock_dataprep.verify import verify
from penstock_dataprep.vocabulary import cut_by_hash
from penstock_shared import Column, DataRefused, UserMistake

DAYS, ROWS_PER_DAY, DAY, FIRST_USERS = 4, 900, 10_000_000, 150
OTHER_RUNNERS = (("--direct_num_workers=1",), ("--direct_num_workers=3", "--direct_running_mode=in_memory"))
VOCABULARIES = {"user_id": ("user_id",), "item_id": ("item_id", "history")}


def day(number: int) -> pa.Table:
    """Return the log of one day: half of its users and items are new, and some of its numbers wider than before."""
    table = rich_log(ROWS_PER_DAY, seed=20 + number)
    is_new = np.arange(table.num_rows) % 2 == 1
    # Few enough that the first day's ids fit a byte, and the second day's do not.
    users = table["user_id"].to_numpy() % FIRST_USERS + np.where(is_new, number * DAY, 0)
    items = [
        f"{number}/{item}" if new else item for item, new in zip(table["item_id"].to_pylist(), is_new, strict=True)
    ]
    columns = {
        "user_id": users,
        "item_id": pa.array(items),
        # Thirds take all the bits of a float; halves do not.
        "rating": table["rating"].to_numpy() / (3 if number == 2 else 1),
        "timestamp": table["timestamp"].to_numpy() + number * DAY,
    }
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(column))
    return table


def best_cut(times: list[int]) -> int:
    """Return the time, not the first, from which on the share of rows is nearest to the test fraction."""
    counts = sorted(Counter(times).items())
    best, left = (2.0, 0), len(times) - counts[0][1]
    for time, count in counts[1:]:
        best = min(best, (abs(left / len(times) - TEST_FRACTION), time))
        left -= count
    return best[1]


class Account:
    """Append days to vocabularies and splits in plain Python."""

    def __init__(self) -> None:
        self.tokens: dict[str, dict[Any, int]] = {name: {} for name in VOCABULARIES}
        self.rows: dict[str, Counter] = {"train": Counter(), "test": Counter()}

    def append(self, table: pa.Table) -> None:
        """Add a day: count over its train rows, number new tokens after the old, map its rows."""
        valid = [row for row in table.to_pylist() if row["rating"] == row["rating"] and row["rating"] <= 5]
        cut = best_cut([row["timestamp"] for row in valid])
        train = [row for row in valid if row["timestamp"] < cut]
        for name, columns in VOCABULARIES.items():
            held = self.tokens[name]
            values = [value for row in train for column in columns for value in self._values(row[column])]
            for token, count in Counter(values).items():
                if token in held:
                    held[token] += count
            new = [value for value in values if value not in held]
            held.update(ranked(new, RICH_COLUMNS[name]["vocabulary"].get("min_count", 1)))
        # What was tested on once is trained on now.
        self.rows = {"train": self.rows["train"] + self.rows["test"], "test": Counter()}
        places = {name: {token: rank for rank, token in enumerate(held)} for name, held in self.tokens.items()}
        for row in valid:
            self.rows["test" if row["timestamp"] >= cut else "train"][self._mapped(row, places)] += 1

    @staticmethod
    def _values(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [] if value is None else [value]

    @staticmethod
    def _mapped(row: dict[str, Any], places: dict[str, dict[Any, int]]) -> tuple[Any, ...]:
        return (
            id_of(row["user_id"], places["user_id"], 3),
            id_of(row["item_id"], places["item_id"], 2),
            tuple(id_of(token, places["item_id"], 2) for token in row["history"] or []),
            float(np.float32(row["rating"])),
            None if row["price"] is None else float(np.float32(row["price"])),
            row["stock"],
            tuple(row["scores"]),
            row["timestamp"],
        )


@pytest.fixture(scope="module")
def days() -> list[pa.Table]:
    return [day(number) for number in range(DAYS)]


@pytest.fixture(scope="module")
def chain(days: list[pa.Table], tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    """Build the first day and append the others one by one."""
    folder = tmp_path_factory.mktemp("chain")
    built: list[Built] = []
    for number, table in enumerate(days):
        document = rich_spec(write_parquet(table, folder / f"log-{number}"))
        built.append(build(document, folder / "datasets", append_to=built[-1] if built else None))
    return built


def test_every_version_holds_the_rows_and_tokens_of_a_plain_account(days: list[pa.Table], chain: list[Built]) -> None:
    account = Account()
    for table, built in zip(days, chain, strict=True):
        account.append(table)
        for name, held in account.tokens.items():
            assert vocabulary_tokens(built, name) == list(held.items())
        for split, rows in account.rows.items():
            assert Counter(rows_of(built, split)) == rows


def test_every_version_verifies_after_the_appends_and_its_accounts_add_up(
    days: list[pa.Table], chain: list[Built]
) -> None:
    read = 0
    for table, built, parent in zip(days, chain, [None, *chain[:-1]], strict=True):
        manifest = built.manifest
        read += table.num_rows
        assert verify(manifest, str(built.path)) >= 100
        assert manifest.accounting.read == read
        assert manifest.source.rows == table.num_rows
        if parent is not None:
            assert manifest.parent is not None
            assert (manifest.parent.version, manifest.parent.digest) == (
                parent.manifest.version,
                parent.manifest.digest,
            )
            new = manifest.accounting.written - parent.manifest.accounting.written
            assert sum(shard.rows for shard in shards(built) if shard.version == manifest.version) == new
    assert [held.version for held in chain[-1].manifest.increments] == [built.manifest.version for built in chain]


def shards(built: Built) -> list[Any]:
    return [shard for split in built.manifest.splits.values() for shard in split.shards]


def test_ids_stay_and_every_vocabulary_descends_from_those_before_it(chain: list[Built]) -> None:
    for older, newer in itertools.pairwise(chain):
        for name in VOCABULARIES:
            before = [token for token, _ in vocabulary_tokens(older, name)]
            after = [token for token, _ in vocabulary_tokens(newer, name)]
            assert after[: len(before)] == before
            assert len(after) > len(before)
            assert newer.manifest.vocabularies[name].descends_from(older.manifest.vocabularies[name])
    first, last = (built.manifest.vocabularies["item_id"] for built in (chain[0], chain[-1]))
    assert last.descends_from(first)
    assert not first.descends_from(last)
    assert [ancestor.tokens for ancestor in last.ancestors] == [
        built.manifest.vocabularies["item_id"].tokens for built in chain[:-1]
    ]


def test_a_shard_keeps_its_columns_and_later_ones_are_never_narrower(chain: list[Built]) -> None:
    increments = chain[-1].manifest.increments
    storages = [{feature.name: feature.storage for feature in increment.features} for increment in increments]
    assert storages[0]["user_id"] == "u8"
    assert storages[1]["user_id"] == "u16"
    # A third of a rating takes a float32 on the third day, and so does half of one ever after.
    assert [held["rating"] for held in storages] == ["f16", "f16", "f32", "f32"]
    assert [feature.column for feature in chain[-1].manifest.features] == [
        feature.column for feature in increments[-1].features
    ]


def test_the_same_days_in_another_arrangement_give_the_same_bytes(
    days: list[pa.Table], chain: list[Built], tmp_path: Path
) -> None:
    built: Built | None = None
    for number, table in enumerate(days[:3]):
        shuffled = table.take(pa.array(np.random.default_rng(number).permutation(table.num_rows)))
        paths = write_parquet(shuffled, tmp_path / f"log-{number}", files=3, row_group_rows=70)
        built = build(rich_spec(paths), tmp_path / "datasets", OTHER_RUNNERS[number % 2], append_to=built)
        assert contents(built) == contents(chain[number])
        assert built.manifest.digest == chain[number].manifest.digest
        assert built.manifest.features == chain[number].manifest.features


def test_many_files_ranges_and_partitions_give_the_same_ids(
    days: list[pa.Table], chain: list[Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {(counting, "TOKENS_PER_PARTITION"): 64, (vocabulary, "TOKENS_PER_RANGE"): 50}
    small |= {(numbering, "TOKENS_PER_SHARD"): 70, (numbering, "TOKENS_PER_BLOCK"): 16}
    for (module, name), value in small.items():
        monkeypatch.setattr(module, name, value)
    built: Built | None = None
    for number, table in enumerate(days[:3]):
        paths = write_parquet(table, tmp_path / f"log-{number}", files=2)
        built = build(rich_spec(paths), tmp_path / "datasets", append_to=built)
        assert len(built.manifest.vocabularies["item_id"].shards) > 1
        for name in VOCABULARIES:
            assert vocabulary_tokens(built, name) == vocabulary_tokens(chain[number], name)
        for split in ("train", "test"):
            assert rows_of(built, split) == rows_of(chain[number], split)
        assert verify(built.manifest, str(built.path)) >= 100


def test_an_append_that_is_there_is_reused_and_another_parent_makes_another_version(
    chain: list[Built], tmp_path: Path
) -> None:
    files = [file.path for file in chain[2].manifest.source.files]
    root = chain[0].base.parent
    again = build(rich_spec(files), root, append_to=chain[1])
    assert (again.reused, again.path) == (True, chain[2].path)
    copy = tmp_path / "datasets"
    shutil.copytree(root, copy)
    parent = copy / "log" / chain[0].path.parent.name / "manifest.json"
    other = build(rich_spec(files), copy, append_to=Built(chain[0].manifest, parent, reused=False))
    assert not other.reused
    assert other.manifest.version != chain[2].manifest.version


@pytest.fixture(scope="module")
def window(days: list[pa.Table], tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    folder = tmp_path_factory.mktemp("window")
    built: list[Built] = []
    for number, table in enumerate(days):
        document = rich_spec(write_parquet(table, folder / f"log-{number}"), keep_last=2)
        built.append(build(document, folder / "datasets", append_to=built[-1] if built else None))
    return built


def test_a_rolling_window_lists_the_newest_builds_and_accounts_for_the_rest(
    window: list[Built], chain: list[Built]
) -> None:
    for number, (built, whole) in enumerate(zip(window, chain, strict=True)):
        versions = [held.manifest.version for held in window[max(0, number - 1) : number + 1]]
        assert {shard.version for shard in shards(built)} == set(versions)
        dropped = sum(held.rows for version in window[: max(0, number - 1)] for held in own_shards(version))
        assert built.manifest.accounting.filtered == ({"older than keep_last": dropped} if dropped else {})
        assert built.manifest.accounting.read == whole.manifest.accounting.read
        assert verify(built.manifest, str(built.path)) > 90
        # What is no longer listed still has its ids and counts.
        assert vocabulary_tokens(built, "item_id") == vocabulary_tokens(whole, "item_id")


def own_shards(built: Built) -> list[Any]:
    return [shard for shard in shards(built) if shard.version == built.manifest.version]


def test_by_entity_every_row_stays_in_the_split_of_its_entity(days: list[pa.Table], tmp_path: Path) -> None:
    split = {"by": "entity_hash", "column": "user_id", "fractions": {"train": 0.7, "validation": 0.1, "test": 0.2}}
    built: Built | None = None
    for number, table in enumerate(days[:2]):
        document = rich_spec(write_parquet(table, tmp_path / f"log-{number}"), split=split)
        built = build(document, tmp_path / "datasets", append_to=built)
    assert built is not None
    assert all(shard.written_for == name for name, held in built.manifest.splits.items() for shard in held.shards)
    assert verify(built.manifest, str(built.path)) > 100
    half = split | {"fractions": {"train": 0.5, "test": 0.5}}
    changed = rich_spec(write_parquet(days[2], tmp_path / "log-2"), split=half)
    with pytest.raises(UserMistake, match="rows of one entity would be in two splits; give both the same split"):
        build(changed, tmp_path / "datasets", append_to=built)


def test_examples_and_hashed_ids_grow_too(tmp_path: Path) -> None:
    columns = {
        "user_id": {"role": "user", "vocabulary": {"encoding": "hash", "oov_buckets": 50}},
        "item_id": {"role": "item", "vocabulary": {"max_size": 40}},
        "rating": {"role": "label", "dtype": "float32"},
        "timestamp": {"role": "time"},
    }
    output = {"layout": "examples", "rows_per_block": 64}
    built: Built | None = None
    tables = [plain_log(500, seed=number, items=60) for number in range(2)]
    for number, table in enumerate(tables):
        document = spec_of(write_parquet(table, tmp_path / f"log-{number}"), columns, output=output)
        built = build(document, tmp_path / "datasets", append_to=built)
    assert built is not None
    assert verify(built.manifest, str(built.path)) > 50
    users, items = (built.manifest.vocabularies[name] for name in ("user_id", "item_id"))
    assert (users.tokens, users.size, len(users.ancestors)) == (0, 52, 1)
    assert items.tokens == 40
    assert sum(len(rows_of(built, split)) for split in ("train", "test")) == 1000


Change = Callable[[dict[str, Any]], None]


def put(*path_and_value: Any) -> Change:
    *parents, last, value = path_and_value

    def change(document: dict[str, Any]) -> None:
        inner = document
        for part in parents:
            inner = inner[part]
        inner[last] = value

    return change


REFUSALS: list[tuple[str, Change, str]] = [
    ("name", put("name", "other"), "name: found 'other', but .* is of 'log'; give both the same name"),
    ("seed", put("shuffle", "seed", 18), "shuffle.seed: found 18, but .*manifest.json has 17"),
    ("layout", put("output", "layout", "examples"), "output.layout: found 'examples', but .* has 'blocks'"),
    ("block", put("output", "rows_per_block", 128), "output.rows_per_block: found 128, but .* has 64"),
    (
        "rules",
        put("columns", "item_id", "vocabulary", "min_count", 9),
        "columns.item_id.vocabulary.min_count: found 9, but .* has 3",
    ),
    ("column", put("columns", "extra", {"from": "price"}), r"columns.order: found .*extra.*, but .* has "),
    (
        "leave_last",
        put("split", {"by": "leave_last"}),
        "split: by leave_last cannot be appended: .*split the new rows by time or entity_hash, or build all rows anew",
    ),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_spec_that_does_not_go_on_from_its_parent_is_refused(
    change: Change,
    message: str,
    days: list[pa.Table],
    chain: list[Built],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = json.loads(json.dumps(rich_spec(write_parquet(days[1], tmp_path / "log"))))
    change(document)
    root = chain[0].base.parent
    before = left_behind(root)
    code = run("build", write_spec(tmp_path / "s.yaml", document), "--out", root, "--append-to", chain[0].path)
    errors = capsys.readouterr().err
    assert code == 2
    assert re.search(message, errors), errors
    assert left_behind(root) == before


def test_a_source_that_does_not_go_on_from_its_parent_is_refused(
    days: list[pa.Table], chain: list[Built], tmp_path: Path
) -> None:
    root = chain[0].base.parent
    files = [file.path for file in chain[0].manifest.source.files]
    with pytest.raises(UserMistake, match=f"is already in version {chain[0].manifest.version}, unchanged"):
        build(rich_spec(files), root, append_to=chain[2])
    texts = days[1].set_column(0, "user_id", pa.array([str(user) for user in days[1]["user_id"].to_pylist()]))
    with pytest.raises(UserMistake, match=r"columns.user_id: 'user_id' is string, but in version .* it is int64"):
        build(rich_spec(write_parquet(texts, tmp_path / "texts")), root, append_to=chain[0])


def test_a_parent_elsewhere_missing_or_edited_is_refused(
    days: list[pa.Table], chain: list[Built], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = rich_spec(write_parquet(days[1], tmp_path / "log"))
    with pytest.raises(UserMistake, match=r"whose manifest cannot list files outside of it; give --out .*/datasets"):
        build(document, tmp_path / "elsewhere", append_to=chain[0])
    spec = write_spec(tmp_path / "spec.yaml", document)
    assert run("build", spec, "--out", tmp_path, "--append-to", tmp_path / "absent.json") == 2
    assert "absent.json: no such file; expected the path of a manifest.json" in capsys.readouterr().err
    edited = tmp_path / "datasets" / "log" / chain[0].path.parent.name / "manifest.json"
    shutil.copytree(chain[0].path.parent, edited.parent)
    edited.write_text(edited.read_text().replace('"storage": "u8"', '"storage": "u16"', 1))
    assert run("build", spec, "--out", tmp_path / "datasets", "--append-to", edited) == 3
    assert "was it edited?" in capsys.readouterr().err


def test_damage_of_the_parents_vocabulary_is_found_before_ids_are_given(
    days: list[pa.Table], chain: list[Built], tmp_path: Path
) -> None:
    folder = tmp_path / "datasets" / "log" / chain[0].path.parent.name
    shutil.copytree(chain[0].path.parent, folder)
    tokens = next(folder.glob("vocabularies/item_id/*"))
    flipped = bytearray(tokens.read_bytes())
    flipped[40] ^= 1
    tokens.write_bytes(flipped)
    document = rich_spec(write_parquet(days[1], tmp_path / "log"))
    with pytest.raises(DataRefused, match=r"item_id/00000-of-00001.tfrecord: corrupt"):
        build(document, tmp_path / "datasets", append_to=Built(chain[0].manifest, folder / "manifest.json", False))


def test_verify_finds_a_token_that_moved_and_a_false_increment(
    chain: list[Built], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "log"
    shutil.copytree(chain[0].base, root)
    path = root / chain[1].path.parent.name / "manifest.json"
    document = json.loads(path.read_text())
    document["increments"][0]["features"][5]["statistics"]["nulls"] += 1
    path.write_text(json.dumps(document))
    assert run("verify", path) == 3
    assert "statistics of stock: nulls" in capsys.readouterr().err
    # The third version's tokens are not those that a version which grew from the second one's sibling would hold.
    document = json.loads((root / chain[2].path.parent.name / "manifest.json").read_text())
    document["vocabularies"]["item_id"]["ancestors"][-1]["tokens"] -= 1
    path = root / chain[2].path.parent.name / "manifest.json"
    path.write_text(json.dumps(document))
    assert run("verify", path) == 3
    assert "does not come after" in capsys.readouterr().err


TOKENS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=60),
    st.lists(st.text(max_size=12), unique=True, max_size=60),
)


@given(TOKENS, st.integers(0, 3), st.randoms(use_true_random=False))
def test_counts_are_parted_and_added_as_a_dict_would(tokens: list[Any], bits: int, random: Any) -> None:
    kind = pa.string() if tokens and isinstance(tokens[0], str) else pa.int64()
    held = random.sample(tokens, random.randint(0, len(tokens)))
    counted = random.sample(tokens, random.randint(0, len(tokens)))
    old = {token: random.randint(1, 9) for token in held}
    new = {token: random.randint(1, 9) for token in counted}

    def table(counts: dict[Any, int]) -> pa.RecordBatch:
        array = pa.array(list(counts), kind)
        hashes, checks = fingerprint_tokens(array)
        return count_table(array, pa.array(hashes), pa.array(checks), np.array(list(counts.values()), np.int64))

    ranks = pa.array(np.arange(len(old), dtype=np.uint32))
    ranked_table = table(old).append_column("rank", ranks)
    parts = [
        known.part(merge_counts([counts]), held_counts)[:2]
        for counts, held_counts in zip(cut_by_hash(table(new), bits), cut_by_hash(ranked_table, bits), strict=True)
    ]
    fresh: dict[Any, int] = {}
    for part, _ in parts:
        fresh |= zip(part.column("token").to_pylist(), part.column("count").to_pylist(), strict=True)
    assert fresh == {token: count for token, count in new.items() if token not in old}
    for start in range(0, len(held), 7):
        piece = known.add_counts(ranked_table.slice(start, 7), [added for _, added in parts])
        assert piece.column("token").to_pylist() == held[start : start + 7]
        summed = [old[token] + new.get(token, 0) for token in held[start : start + 7]]
        assert piece.column("count").to_pylist() == summed


def test_a_new_token_with_the_hash_of_a_known_one_is_new() -> None:
    hashes = pa.array([5, 5], pa.uint64())
    tokens, checks = pa.array(["new", "old"]), pa.array([1, 2], pa.uint32())
    counted = count_table(tokens, hashes, checks, np.array([3, 4]))
    held = counted.slice(1).append_column("rank", pa.array([9], pa.uint32()))
    fresh, added, shared = known.part(counted, held)
    assert fresh.to_pylist() == [{"token": "new", "hash": 5, "check": 1, "count": 3}]
    assert added.to_pylist() == [{"rank": 9, "count": 4}]
    assert shared == (5,)
    assert known.part(counted.slice(0, 1), held)[2] == (5,)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("u8", "u24", "u24"),
        ("u32", "i64", "i64"),
        ("u8", "f16", "f16"),
        ("u8", "bf16", "bf16"),
        ("u16", "f16", "f32"),
        ("f16", "bf16", "f32"),
        ("f32", "u8", "f32"),
        ("u24", "u24", "u24"),
    ],
)
def test_a_column_widens_to_what_holds_both(one: Any, other: Any, both: str) -> None:
    for left, right in ((one, other), (other, one)):
        assert widen(Column(name="x", storage=left), Column(name="x", storage=right)).storage == both
    lists = widen(Column(name="x", storage=one, lengths="u8"), Column(name="x", storage=other, lengths="u24"))
    assert lists.lengths == "u24"
    assert widen(Column(name="x", storage=one, nullable=True), Column(name="x", storage=other)).nullable
