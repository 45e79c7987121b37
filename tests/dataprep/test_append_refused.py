"""Refuse what does not go on from the version it is appended to, and find damage done to it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from logs import (
    Built,
    build,
    left_behind,
    rich_spec,
    run,
    write_parquet,
    write_spec,
)

from penstock_shared import DataRefused, UserMistake

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
