"""Hold entity tables to plain Python: row i is about the entity with id i, whatever the order of their source."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from logs import (
    PLAIN_COLUMNS,
    Built,
    build,
    contents,
    plain_log,
    ranked,
    run,
    spec_of,
    vocabulary_tokens,
    write_parquet,
    write_spec,
)

from penstock_dataprep.records.blocks import decode_block
from penstock_dataprep.records.tfrecord import unframe
from penstock_dataprep.spec.spec import load_spec
from penstock_dataprep.verify.dataset import verify
from penstock_dataprep.versions.card import render_card
from penstock_dataprep.versions.show import describe
from penstock_shared import DataRefused, UserMistake
from penstock_shared.tokens import first_token_id

ROWS = 1500
ITEM_COLUMNS = {
    "genres": {"transform": {"kind": "split"}, "vocabulary": {}},
    "like": {"vocabulary": "item_id", "null": {"default": "i1é"}},
    "main_genre": {"vocabulary": "genres"},
    "price": {"transform": {"kind": "normalise"}},
    "year": {"dtype": "int64", "range": [1900, 2100], "null": {"default": 2000}},
    "decade": {"from": "year", "transform": {"kind": "bucketise", "boundaries": [1970, 1980]}},
    "poster": {"shape": [2], "null": {"default": 0.5}},
    "updated": {"role": "time"},
}


def entities_of(log: pa.Table) -> list[dict[str, Any]]:
    """Return entities for most items of a log and for some others; some have several rows, one breaks a rule."""
    items = sorted(set(log["item_id"].to_pylist()))
    rows = []
    for k, item in enumerate([*items[4:], "nowhere", "never"]):
        row = {
            "item": item,
            "genres": None if k % 5 == 0 else "|".join(f"g{g}" for g in range(k % 3)),
            "like": None if k % 4 == 0 else items[(k * 7) % len(items)],
            "main_genre": f"g{k % 3}",
            "price": None if k % 6 == 0 else float(k),
            "year": None if k % 7 == 0 else 1960 + k % 40,
            "poster": None if k % 8 == 0 else [float(k), -1.0],
            "updated": 100,
        }
        rows.append(row)
        if k % 9 == 0:
            rows += [row, {**row, "price": 1e6, "updated": 99}]  # a copy, and an older state
    rows.append({**rows[0], "item": items[0], "year": 1850})
    return rows


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    return table.set_column(6, "poster", table["poster"].cast(pa.list_(pa.float32())))


def write_entities(table: pa.Table, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=17)
    return str(path)


def spec(log_files: Any, entity_files: Any, columns: dict[str, Any] = ITEM_COLUMNS, **changes: Any) -> dict[str, Any]:
    table = {
        "source": {"files": entity_files, "format": "parquet"},
        "key": "item",
        "columns": columns,
        "max_reject_fraction": 0.1,
    }
    output = {"rows_per_block": 16, "shard_bytes": "1KB"}
    return spec_of(log_files, PLAIN_COLUMNS, output=output, tables={"item_id": table}, **changes)


@pytest.fixture(scope="module")
def log() -> pa.Table:
    return plain_log(ROWS, seed=8)


@pytest.fixture(scope="module")
def built(log: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("tables")
    entities = write_entities(table_of(entities_of(log)), folder / "items.parquet")
    return build(spec(write_parquet(log, folder / "log"), entities), folder / "datasets")


def table_rows(built: Built, name: str) -> list[dict[str, Any]]:
    """Return a table's rows as Python values by feature name."""
    table = built.manifest.tables[name]
    columns = tuple(feature.column for feature in table.features)
    rows: list[dict[str, Any]] = []
    for shard in table.shards:
        for _, payload in unframe((built.base / shard.path).read_bytes(), shard.path):
            count, decoded = decode_block(columns, payload, shard.path)
            held = []
            for values in decoded:
                numbers: list[Any] = values.numbers.tolist()
                if values.lengths is not None:
                    ends = np.cumsum(values.lengths, dtype=int)
                    numbers = [numbers[end - size : end] for end, size in zip(ends, values.lengths, strict=True)]
                if values.present is not None:
                    numbers = [n if present else None for n, present in zip(numbers, values.present, strict=True)]
                held.append(numbers)
            rows += [{c.name: numbers[at] for c, numbers in zip(columns, held, strict=True)} for at in range(count)]
    return rows


def test_every_claim_of_the_manifest_holds(built: Built) -> None:
    assert verify(built.manifest, str(built.path)) > 150
    table = built.manifest.tables["item_id"]
    assert len(table.shards) > 1
    assert table.accounting.rejected == {"item_id.year range": 1}
    tokens = {token for token, _ in vocabulary_tokens(built, "item_id")}
    assert table.rows == len(tokens) + first_token_id(1)
    assert "item_id.genres" in built.manifest.vocabularies
    for text in (describe(built.manifest), render_card(built.manifest)):
        assert "item_id.main_genre" in text or "main_genre" in text


def test_a_build_tells_how_many_tokens_have_an_entity(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec_path = write_spec(tmp_path / "spec.yaml", built.manifest.spec)
    assert run("build", spec_path, "--out", built.base.parent) == 0
    table, tokens = built.manifest.tables["item_id"], built.manifest.vocabularies["item_id"].tokens
    assert 0 < table.missing < tokens
    assert f"table item_id: {tokens - table.missing} of {tokens} tokens have an entity\n" in capsys.readouterr().out


def test_row_i_is_about_the_entity_with_id_i(built: Built, log: pa.Table) -> None:
    found = table_rows(built, "item_id")
    valid = [row for row in entities_of(log) if row["year"] != 1850]
    tokens = [token for token, _ in vocabulary_tokens(built, "item_id")]
    ids = {token: 3 + place for place, token in enumerate(tokens)}
    latest = {row["item"]: row for row in valid if row["updated"] == 100}
    table = built.manifest.tables["item_id"]
    assert table.accounting.written == len(latest.keys() & ids.keys())
    assert table.missing == len(ids.keys() - latest.keys())
    assert table.accounting.filtered["unmatched"] == sum(row["item"] not in ids for row in valid)
    known = [row for row in valid if row["item"] in ids]
    assert table.accounting.filtered["duplicate"] == len(known) - table.accounting.written

    ranking = ranked(
        [g for row in valid for g in (row["genres"] or "").split("|") if g] + [r["main_genre"] for r in valid]
    )
    genres = {token: 3 + place for place, (token, _) in enumerate(ranking)}
    prices = np.array([row["price"] for row in valid if row["price"] is not None])
    nothing = dict.fromkeys(("genres", "like", "main_genre", "price", "year", "poster", "updated"))
    for token_id, token in enumerate([None, None, None, *tokens]):
        row = latest.get(token, nothing)
        year = 2000 if row["year"] is None else row["year"]
        price = None if row["price"] is None else float(np.float32((row["price"] - prices.mean()) / prices.std()))
        expected = {
            "genres": [genres[g] for g in (row["genres"] or "").split("|") if g],
            "like": ids["i1é"] if row["like"] is None else ids.get(row["like"], 2),
            "main_genre": 1 if row["main_genre"] is None else genres[row["main_genre"]],
            "price": None if price is None else pytest.approx(price, rel=1e-6),
            "year": year,
            "decade": None if row["year"] is None else (year >= 1970) + (year >= 1980),
            "poster": [0.5, 0.5] if row["poster"] is None else row["poster"],
            "updated": row["updated"],
        }
        assert found[token_id] == expected, token


def test_another_order_of_entities_gives_the_same_bytes(built: Built, log: pa.Table, tmp_path: Path) -> None:
    table = table_of(entities_of(log))
    shuffled = table.take(pa.array(np.random.default_rng(2).permutation(table.num_rows)))
    halves = [
        write_entities(shuffled.slice(40), tmp_path / "a.parquet"),
        write_entities(shuffled.slice(0, 40), tmp_path / "b.parquet"),
    ]
    again = build(spec(write_parquet(log, tmp_path / "log", 2), halves), tmp_path / "datasets")
    assert contents(again) == contents(built)
    assert again.manifest.digest == built.manifest.digest


def test_the_digest_covers_tables(built: Built) -> None:
    table = built.manifest.tables["item_id"]
    shard = table.shards[0].model_copy(update={"crc32c": "00000000"})
    changed = table.model_copy(update={"shards": (shard, *table.shards[1:])})
    with pytest.raises(DataRefused, match="corrupt"):
        verify(built.manifest.model_copy(update={"tables": {"item_id": changed}}), str(built.path))
    with pytest.raises(DataRefused, match="digest"):
        verify(built.manifest.model_copy(update={"tables": {}}), str(built.path))


def test_rows_of_an_entity_that_differ_are_refused(log: pa.Table, tmp_path: Path) -> None:
    rows = entities_of(log)
    rows.append({**rows[3], "price": 77.0})
    entities = write_entities(table_of(rows), tmp_path / "items.parquet")
    message = rf"tables.item_id: 1 entities have several rows that differ, one of them '{rows[3]['item']}'"
    with pytest.raises(DataRefused, match=message):
        build(spec(write_parquet(log, tmp_path / "log"), entities), tmp_path / "datasets")
    assert not (tmp_path / "datasets" / "log").exists()


def test_too_many_broken_entities_are_refused(log: pa.Table, tmp_path: Path) -> None:
    entities = write_entities(table_of([{**row, "year": 1} for row in entities_of(log)]), tmp_path / "items.parquet")
    with pytest.raises(DataRefused, match=r"item_id.year: found '1', expected a value in the range \[1900") as refusal:
        build(spec(write_parquet(log, tmp_path / "log"), entities), tmp_path / "datasets")
    assert str(refusal.value).startswith("tables.item_id: ")


@pytest.mark.parametrize(
    ("rows", "prices", "message"),
    [
        (0, 1.5, "tables.item_id.source.files: ITEMS hold no rows; expected at least one"),
        (3, None, "tables.item_id.columns.price.transform: no training row has a value"),
    ],
)
def test_what_is_wrong_with_a_table_names_the_table(
    rows: int, prices: float | None, message: str, log: pa.Table, tmp_path: Path
) -> None:
    items = pa.array(["i1é", "i2é", "i3é"][:rows], pa.string())
    held = pa.table({"item": items, "price": pa.array([prices] * rows, pa.float64())})
    entities = write_entities(held, tmp_path / "items.parquet")
    columns = {"price": ITEM_COLUMNS["price"]}
    with pytest.raises(DataRefused) as refusal:
        build(spec(write_parquet(log, tmp_path / "log"), entities, columns), tmp_path / "datasets")
    assert str(refusal.value).startswith(message.replace("ITEMS", entities))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables": {"item": {}}}, "tables.item.source: missing; it is required"),
        ({"columns": {}}, "tables.item_id.columns: found {}, expected"),
        ({"columns": {"x": {"role": "label"}}}, "tables.item_id.columns.x.role: found 'label', expected 'feature'"),
        ({"columns": {"x": {"vocabulary": "y"}}}, "tables.item_id.columns.x.vocabulary: found 'y', expected rules"),
        ({"columns": {"a": {"role": "time"}, "b": {"role": "time"}}}, "several columns have role time"),
        ({"columns": {"titel": {"vocabulary": {}}}}, "tables.item_id.columns.titel: no column 'titel' in"),
        ({"key": "id"}, "tables.item_id.key: no column 'id' in"),
        ({"files": "nowhere.parquet"}, "tables.item_id.source.files: nowhere.parquet does not exist"),
        ({"table": "rating"}, "tables.rating: expected the name of a column with a vocabulary of its own"),
    ],
)
def test_a_table_that_cannot_work_is_refused(changes: dict, message: str, log: pa.Table, tmp_path: Path) -> None:
    entities = write_entities(table_of(entities_of(log)), tmp_path / "items.parquet")
    document = spec(write_parquet(log, tmp_path / "log"), changes.get("files", entities))
    held = document["tables"]["item_id"]
    held["columns"] = changes.get("columns", held["columns"])
    held["key"] = changes.get("key", held["key"])
    document["tables"] = changes.get("tables", {changes.get("table", "item_id"): held})
    with pytest.raises(UserMistake) as refusal:
        build(document, tmp_path / "datasets")
    assert message in str(refusal.value)


def test_a_vocabulary_without_tokens_has_no_table() -> None:
    document = spec("f", "g")
    document["columns"] = {**PLAIN_COLUMNS, "item_id": {"role": "item", "vocabulary": {"encoding": "hash"}}}
    with pytest.raises(UserMistake, match="its vocabulary has encoding hash, so entities share ids"):
        load_spec("spec.yaml", yaml.safe_dump(document))


def test_a_table_grows_with_its_vocabulary(built: Built, log: pa.Table, tmp_path: Path) -> None:
    old, new = entities_of(log), entities_of(plain_log(ROWS, seed=9, items=140))
    later = plain_log(ROWS, seed=9, items=140)
    later = later.set_column(3, "timestamp", pa.array(later["timestamp"].to_numpy() + 10_000_000))
    known = {row["item"] for row in old}
    rows = old + [row for row in new if row["item"] not in known]
    first = build(
        spec(write_parquet(log, tmp_path / "log"), write_entities(table_of(old), tmp_path / "old.parquet")),
        tmp_path / "datasets",
    )
    second = build(
        spec(write_parquet(later, tmp_path / "later"), write_entities(table_of(rows), tmp_path / "new.parquet")),
        tmp_path / "datasets",
        append_to=first,
    )
    verify(second.manifest, str(second.path))
    before, after = table_rows(first, "item_id"), table_rows(second, "item_id")
    assert len(after) == second.manifest.vocabularies["item_id"].size > len(before)
    # Ids keep their meaning, and so do numbers: what was measured of the older version's table stays.
    unchanged = ("genres", "main_genre", "price", "year", "decade", "poster", "updated")
    had_entity = [place for place, row in enumerate(before) if row["updated"] is not None]
    assert len(had_entity) > 50
    for place in had_entity:
        assert [after[place][name] for name in unchanged] == [before[place][name] for name in unchanged]
    settled = [held.manifest.tables["item_id"].features[3].transform for held in (first, second)]
    assert settled[0] == settled[1] is not None
    document = spec("f", "g", {**ITEM_COLUMNS, "price": {}})
    document["source"]["files"] = write_parquet(later, tmp_path / "later")
    document["tables"]["item_id"]["source"]["files"] = str(tmp_path / "new.parquet")
    with pytest.raises(UserMistake, match=r"tables.item_id.columns.price.transform: found None, but .* has \{"):
        build(document, tmp_path / "datasets", append_to=first)


@pytest.mark.parametrize(
    "changes",
    [
        {"split": {"by": "leave_last", "n": 1}},
        {"split": {"by": "leave_last", "n": 1}, "history": {"key": "user_id", "columns": ["item_id"], "length": 5}},
        {"split": {"by": "entity_hash", "column": "user_id", "fractions": {"train": 0.9, "test": 0.1}}},
    ],
    ids=["leave_last", "history", "entity_hash"],
)
def test_two_tables_join_whatever_is_made_of_rows(changes: dict, log: pa.Table, tmp_path: Path) -> None:
    known = sorted(set(log["user_id"].to_pylist()))
    users = pa.table({"user": known, "age": list(range(len(known)))})
    document = spec(
        write_parquet(log, tmp_path / "log"), write_entities(table_of(entities_of(log)), tmp_path / "a"), **changes
    )
    document["tables"]["user_id"] = {
        "source": {"files": write_entities(users, tmp_path / "b"), "format": "parquet"},
        "key": "user",
        "columns": {"age": {"transform": {"kind": "bucketise", "quantiles": 4}}},
    }
    built = build(document, tmp_path / "datasets")
    verify(built.manifest, str(built.path))
    assert [row["age"] for row in table_rows(built, "user_id")[:3]] == [None, None, None]
    assert built.manifest.tables["user_id"].missing == 0
