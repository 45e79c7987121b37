"""Hold appended versions to a plain Python account of which tokens, ids and rows they must hold."""

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from append_account import VOCABULARIES, Account
from logs import (
    Built,
    build,
    contents,
    plain_log,
    rich_spec,
    rows_of,
    spec_of,
    vocabulary_tokens,
    write_parquet,
)

from penstock_dataprep.verify.dataset import verify
from penstock_dataprep.versions.show import describe
from penstock_dataprep.vocabularies import counting, numbering, vocabulary
from penstock_shared import UserMistake

OTHER_RUNNERS = (("--direct_num_workers=1",), ("--direct_num_workers=3", "--direct_running_mode=in_memory"))


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
    small = {
        (counting, "TOKENS_PER_PARTITION"): 64,
        (counting, "TOKENS_PER_TABLE"): 64,
        (vocabulary, "TOKENS_PER_RANGE"): 50,
    }
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


def test_show_tells_of_the_order_of_each_build(chain: list[Built]) -> None:
    grown = chain[-1].manifest
    assert f"certified uniform in each of {len(grown.increments)} builds" in describe(grown)
    last = grown.increments[-1]
    assert last.certificate is not None
    broken = last.model_copy(update={"certificate": last.certificate.model_copy(update={"passes": False})})
    told = describe(grown.model_copy(update={"increments": (*grown.increments[:-1], broken)}))
    assert f"NOT CERTIFIED: the order in builds {last.version}" in told


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
