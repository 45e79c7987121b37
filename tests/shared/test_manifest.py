"""Pin manifest.json byte for byte, and hold each way a manifest can be wrong to a refusal that says so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock_shared import DataRefused, Manifest, dump_manifest, load_manifest
from penstock_shared.digests import content_digest, fingerprint, vocabulary_digest

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def text(golden: Path) -> str:
    return (golden / "manifest_v1.json").read_text(encoding="utf-8")


@pytest.fixture
def manifest(text: str) -> Manifest:
    return load_manifest(text, "manifest.json")


def test_the_golden_manifest_is_dumped_to_the_same_bytes(text: str, manifest: Manifest) -> None:
    # Published datasets hold such files: where this test fails, old datasets can no longer be read.
    assert dump_manifest(manifest) == text
    assert load_manifest(text.encode(), "manifest.json") == manifest


def test_a_manifest_of_before_tails_were_kept_is_read(text: str, manifest: Manifest) -> None:
    document = json.loads(text)
    del document["tails"]
    assert load_manifest(json.dumps(document), "manifest.json") == manifest.model_copy(update={"tails": None})


def test_features_are_found_by_role(manifest: Manifest) -> None:
    roles = ("user", "item", "label", "time", "feature")
    names = [feature.name for role in roles if (feature := manifest.feature(role))]
    assert names == ["user_id", "item_id", "rating", "timestamp", "history"]
    assert manifest.model_copy(update={"features": ()}).feature("user") is None


def test_golden_digests(manifest: Manifest) -> None:
    parts = (manifest.features, manifest.layout, manifest.vocabularies, manifest.splits)
    assert manifest.digest == content_digest(*parts, manifest.increments, manifest.tables, manifest.tails)
    assert manifest.digest != content_digest(*parts, manifest.increments, None, manifest.tails)
    assert manifest.digest != content_digest(*parts, (), manifest.tables, manifest.tails)
    # What a manifest of before tails were kept states.
    without = "cdd6da3d84bb0cae19568462442ed637ff7906ffd8a2852829a9ac69a5fceccf"
    assert content_digest(*parts, manifest.increments, manifest.tables) == without
    for vocabulary in manifest.vocabularies.values():
        assert vocabulary.digest == vocabulary_digest(vocabulary.oov_buckets, vocabulary.columns, vocabulary.shards)


def test_a_shard_has_the_columns_of_its_own_version(manifest: Manifest) -> None:
    older, newer = manifest.splits["train"].shards
    assert [manifest.features_of(shard)[3].storage for shard in (older, newer)] == ["u8", "f16"]
    alone = manifest.model_copy(update={"increments": ()})
    assert alone.features_of(older) == manifest.features


def test_a_vocabulary_descends_from_its_ancestors_and_itself(manifest: Manifest) -> None:
    item = manifest.vocabularies["item"]
    parent = item.model_copy(update={"digest": item.parent, "tokens": 2, "ancestors": (), "parent": None})
    assert item.descends_from(parent)
    assert item.descends_from(item)
    assert not parent.descends_from(item)
    assert not item.descends_from(parent.model_copy(update={"tokens": 1}))
    assert item.first_ordered == 2


def test_the_digest_ignores_where_files_lie_but_not_what_they_hold(manifest: Manifest) -> None:
    def digest(**shard: object) -> str:
        train = manifest.splits["train"]
        changed = train.model_copy(update={"shards": (train.shards[0].model_copy(update=shard), *train.shards[1:])})
        splits = manifest.splits | {"train": changed}
        parts = manifest.features, manifest.layout, manifest.vocabularies, splits
        return content_digest(*parts, manifest.increments, manifest.tables, manifest.tails)

    assert digest(path="11aa/elsewhere.tfrecord") == manifest.digest
    # A shard of another increment has other columns.
    assert digest(path="2f6d/elsewhere.tfrecord") != manifest.digest
    assert digest(crc32c="11111111") != manifest.digest
    assert digest(rows=3) != manifest.digest


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [2, "é"]}) == fingerprint({"b": [2, "é"], "a": 1})
    # sha256 of {"a":1}
    assert fingerprint({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


def put(path: str, value: object) -> Edit:
    """Return an edit that sets what lies at a dotted path."""

    def edit(document: dict[str, Any]) -> None:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        inner: Any = document
        for part in parents:
            inner = inner[part]
        inner[last] = value

    return edit


SHARD = "splits.train.shards.0"
INSIDE = "expected a relative path of plain names"
REFUSALS: list[tuple[str, Edit, str, str]] = [
    # unknown keys name the nearest known one
    ("unknown key", put("splitz", {}), "splitz", "unknown key 'splitz'; did you mean 'splits'? known: accounting, "),
    ("unknown inner key", put(f"{SHARD}.row", 1), f"{SHARD}.row", "unknown key 'row'; did you mean 'rows'?"),
    (
        "unknown feature key",
        put("features.1.dtyp", "x"),
        "features.1.dtyp",
        "unknown key 'dtyp'; did you mean 'dtype'?",
    ),
    # rows that are sequences
    ("too few events", put(f"{SHARD}.events", 1), SHARD, "at least one event in each of the 2 sequences, but there"),
    ("events in one shard", put(f"{SHARD}.events", 2), "document", "events in every shard or in none: rows are sequ"),
    # wrong types and values
    ("text for a number", put("accounting.read", "8"), "accounting.read", "found '8', expected a valid integer"),
    ("float for a number", put(f"{SHARD}.rows", 2.5), f"{SHARD}.rows", "found 2.5, expected a valid integer"),
    ("negative", put(f"{SHARD}.bytes", -1), f"{SHARD}.bytes", "found -1, expected greater than or equal to 0"),
    ("missing", lambda document: document.pop("layout"), "layout", "missing; it is required"),
    ("role", put("features.0.role", "users"), "features.0.role", "found 'users', expected 'user', 'item', 'label'"),
    ("storage", put("features.0.storage", "u64"), "features.0.storage", "found 'u64', expected 'u8', 'u16'"),
    ("checksum", put(f"{SHARD}.crc32c", "XYZ"), f"{SHARD}.crc32c", "found 'XYZ', expected"),
    ("digest", put("digest", "ab"), "digest", "found 'ab', expected"),
    ("coverage", put("vocabularies.item.coverage", 1.5), "vocabularies.item.coverage", "found 1.5, expected less"),
    ("rows per block", put("layout.rows_per_block", 0), "layout.rows_per_block", "found 0, expected greater"),
    ("layout version", put("layout.version", 2), "layout.version", "found 2, expected 1"),
    ("shuffle method", put("shuffle.method", "sort"), "shuffle.method", "found 'sort', expected 'keyed-hash/1'"),
    ("name", put("name", "../movies"), "name", "found '../movies', expected"),
    # versions
    ("newer major", put("format_version", "2.0"), "format_version", "found 2.0, expected at most 1.x; install a newer"),
    ("no version", put("format_version", "one"), "format_version", "found 'one', expected"),
    ("another format", put("format", "croissant"), "format", "expected 'penstock-dataset'"),
    # paths that leave the dataset
    ("parent folder", put(f"{SHARD}.path", "../a"), f"{SHARD}.path", f"found '../a', {INSIDE}"),
    ("parent inside", put(f"{SHARD}.path", "a/../../b"), f"{SHARD}.path", f"found 'a/../../b', {INSIDE}"),
    ("absolute", put(f"{SHARD}.path", "/etc/passwd"), f"{SHARD}.path", f"found '/etc/passwd', {INSIDE}"),
    ("backslash", put(f"{SHARD}.path", "..\\a"), f"{SHARD}.path", INSIDE),
    ("drive", put(f"{SHARD}.path", "C:a"), f"{SHARD}.path", f"found 'C:a', {INSIDE}"),
    ("scheme", put(f"{SHARD}.path", "gs://b/a"), f"{SHARD}.path", f"found 'gs://b/a', {INSIDE}"),
    ("NUL", put(f"{SHARD}.path", "a\0b"), f"{SHARD}.path", INSIDE),
    ("empty", put(f"{SHARD}.path", ""), f"{SHARD}.path", f"found '', {INSIDE}"),
    ("index", put("splits.test.block_index.path", "a//b"), "splits.test.block_index.path", f"found 'a//b', {INSIDE}"),
    ("vocabulary", put("vocabularies.item.shards.0.path", "./x"), "vocabularies.item.shards.0.path", INSIDE),
    ("rejects", put("rejects.0.path", ".."), "rejects.0.path", f"found '..', {INSIDE}"),
    # what does not add up
    (
        "unbalanced",
        put("accounting.read", 9),
        "accounting",
        "expected rows that balance, but 9 were read and 8 accounted",
    ),
    ("shard rows", put(f"{SHARD}.rows", 3), "splits.train", "expected rows equal to the sum over the shards, 5"),
    ("shard blocks", put(f"{SHARD}.blocks", 2), "splits.train", "expected blocks equal to the sum over the shards, 3"),
    ("shard bytes", put(f"{SHARD}.bytes", 71), "splits.train", "expected bytes equal to the sum over the shards, 151"),
    (
        "split rows",
        lambda document: document["splits"].pop("test"),
        "document",
        "the splits' 4 rows to equal the 5 rows",
    ),
    ("table rows", put("tables.item.rows", 77), "tables.item", "expected rows equal to the sum over the shards,"),
    ("table entities", put("tables.item.missing", 33), "document", "table item to have a row for each of the"),
    ("table path", put("tables.item.shards.0.path", "../t"), "tables.item.shards.0.path", f"found '../t', {INSIDE}"),
    (
        "table without a vocabulary",
        lambda document: document["tables"].update(movie=document["tables"].pop("item")),
        "document",
        "table movie to have the name of a vocabulary",
    ),
    # what does not hold together
    (
        "vector of one",
        put("features.7.shape", [1]),
        "features.7.shape.0",
        "found 1, expected greater than or equal to 2",
    ),
    ("list of vectors", put("features.7.lengths", "u8"), "features.7", "expected neither lengths nor a vocabulary"),
    (
        "boundaries that descend",
        put("features.6.transform.boundaries", [2.0, 1.0]),
        "features.6.transform",
        "expected boundaries that ascend",
    ),
    (
        "unknown transform",
        put("features.6.transform.kind", "square"),
        "features.6.transform.kind",
        "found 'square', expected 'normalise', 'bucketise'",
    ),
    ("unknown vocabulary", put("features.1.vocabulary", "items"), "document", "feature item_id to use a vocabulary"),
    ("two of a name", put("features.1.name", "user_id"), "document", "expected distinct feature names"),
    ("floats as int", put("features.3.dtype", "int64"), "features.3", "storage f16 holds floats, but dtype is int64"),
    # what did not grow as it says
    ("no parent", put("parent", None), "document", "increments up to 2f6d with a parent and none without"),
    ("no increments", put("increments", []), "document", "increments up to 2f6d with a parent and none without"),
    ("last increment", put("increments.1.version", "33"), "document", "increments up to 2f6d with a parent and none"),
    ("foreign shard", put("increments.0.version", "33"), "document", "shard 11aa/train/train-00000-of-00001.tfrecord"),
    ("other feature", put("increments.0.features.4.name", "t"), "document", "increment 11aa to have the manifest's"),
    ("parent vocabulary", put("vocabularies.item.parent", "0" * 64), "vocabularies.item", "the digest of the last"),
    ("fewer tokens", put("vocabularies.item.ancestors.0.tokens", 4), "vocabularies.item", "ancestors with ever more"),
    # what is kept for rows to come
    ("tail keys", put("tails.keys", 2), "tails", "expected keys equal to the sum over the files, 3"),
    ("tail events", put("tails.files.0.events", 3), "tails", "expected events equal to the sum over the files, 5"),
    ("tail partition", put("tails.files.1.partition", 2), "tails", "expected files of ascending partitions below 2^1"),
    ("events seen", put("tails.seen", 5), "tails", "expected at least the 6 events kept"),
    ("nullable list", put("features.2.nullable", True), "features.2", "a list feature cannot be nullable"),
]


@pytest.mark.parametrize(
    ("edit", "place", "words"), [row[1:] for row in REFUSALS], ids=[row[0].replace(" ", "-") for row in REFUSALS]
)
def test_a_manifest_that_is_wrong_is_refused(text: str, edit: Edit, place: str, words: str) -> None:
    document = json.loads(text)
    edit(document)
    with pytest.raises(DataRefused) as refusal:
        load_manifest(json.dumps(document), "ds/manifest.json")
    message = str(refusal.value)
    assert message.startswith(f"ds/manifest.json: {place}: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "this is not a dataset manifest"),
        ("{}", "this is not a dataset manifest"),
        ("null", "this is not a dataset manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(broken: str, message: str) -> None:
    with pytest.raises(DataRefused, match=rf"^ds/manifest\.json: .*{message}"):
        load_manifest(broken, "ds/manifest.json")


def test_every_truncation_of_a_manifest_is_refused(text: str) -> None:
    for size in range(0, len(text.rstrip()) - 1, 7):
        with pytest.raises(DataRefused, match="not JSON"):
            load_manifest(text[:size], "ds/manifest.json")


def test_a_newer_minor_version_is_read(text: str) -> None:
    assert (
        load_manifest(text.replace('"format_version": "1.0"', '"format_version": "1.7"'), "m").format_version == "1.7"
    )


def test_a_newer_major_version_is_refused_before_anything_else(text: str) -> None:
    document = json.loads(text) | {"format_version": "10.0", "unheard_of": True}
    with pytest.raises(DataRefused, match=r"^m: format_version: found 10\.0, expected at most 1\.x") as refusal:
        load_manifest(json.dumps(document), "m")
    assert "unheard_of" not in str(refusal.value)


def test_all_faults_are_told_at_once(text: str) -> None:
    document = json.loads(text)
    put("created", 5)(document)
    put("splitz", {})(document)
    with pytest.raises(DataRefused) as refusal:
        load_manifest(json.dumps(document), "m")
    assert len(str(refusal.value).splitlines()) == 2


def test_a_manifest_cannot_be_changed(manifest: Manifest) -> None:
    with pytest.raises(ValueError, match="frozen"):
        manifest.name = "another"
