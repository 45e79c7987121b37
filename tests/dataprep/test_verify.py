"""Hold verify to finding every kind of damage and every false claim, and naming the file."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from logs import Built, run, without_progress

from penstock_dataprep.statistics.facts import share


@pytest.fixture
def dataset(rich_build: tuple[pa.Table, Built], tmp_path: Path) -> Path:
    """Return the version folder of a copy of a whole dataset, free to damage."""
    _, built = rich_build
    folder = tmp_path / "log" / built.path.parent.name
    shutil.copytree(built.path.parent, folder)
    return folder


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = run("verify", folder / "manifest.json")
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return code, without_progress(printed.err)


def test_a_whole_dataset_holds_wherever_it_is(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verified(dataset, capsys) == (0, "")
    monkeypatch.chdir(dataset)
    (dataset / "inner").mkdir()
    for path in ("manifest.json", "./manifest.json", f"../{dataset.name}/manifest.json", "inner/../manifest.json"):
        assert run("verify", path) == 0
    monkeypatch.chdir(dataset / "inner")
    assert run("verify", "../manifest.json") == 0


FILES = {
    "shard": "train/*.tfrecord",
    "vocabulary": "vocabularies/item_id/*.tfrecord",
    "block index": "train/blocks.u64",
    "rejects": "rejects/*.parquet",
}


@pytest.mark.parametrize("pattern", FILES.values(), ids=FILES.keys())
@pytest.mark.parametrize("at", [0, 0.5, -1])
def test_a_flipped_bit_is_found(pattern: str, at: float, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = first(dataset, pattern)
    content = bytearray(path.read_bytes())
    place = -1 if at == -1 else int(at * len(content))
    content[place] ^= 0x10
    path.write_bytes(bytes(content))
    code, said = verified(dataset, capsys)
    assert code == 3
    assert f"{path}: corrupt: its crc32c is " in said


@pytest.mark.parametrize("pattern", FILES.values(), ids=FILES.keys())
def test_a_file_cut_short_lengthened_or_lost_is_found(
    pattern: str, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = first(dataset, pattern)
    content = path.read_bytes()
    for changed, message in ((content[:-1], "truncated: found"), (content + b"\0", "longer than written: found")):
        path.write_bytes(changed)
        code, said = verified(dataset, capsys)
        assert (code, f"{path}: {message}" in said) == (3, True)
    path.unlink()
    code, said = verified(dataset, capsys)
    assert (code, f"{path}: missing" in said) == (3, True)


def test_a_corrupt_shard_is_named_to_the_byte(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = first(dataset, "train/*.tfrecord")
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(bytes(content))
    assert "(corrupt: the record at byte 0 fails its checksum)" in verified(dataset, capsys)[1]


def _set(path: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def edit(document: dict[str, Any]) -> None:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        inner: Any = document
        for parent in parents:
            inner = inner[parent]
        inner[last] = change(inner[last])

    return edit


def more(value: float) -> float:
    return value + 1


def _move_rows(document: dict[str, Any]) -> None:
    # The sums still add up, so only the shards themselves can tell.
    split = document["splits"]["train"]
    split["shards"][0]["rows"] += 1
    split["shards"][1]["rows"] -= 1


def _move_rows_between_splits(document: dict[str, Any]) -> None:
    for name, by in (("train", 1), ("test", -1)):
        document["splits"][name]["rows"] += by
        document["splits"][name]["shards"][0]["rows"] += by


def _exchange_reasons(document: dict[str, Any]) -> None:
    rejected = document["accounting"]["rejected"]
    rejected["rating null"] += 1
    rejected["rating range"] -= 1


def _invent_reason(document: dict[str, Any]) -> None:
    rejected = document["accounting"]["rejected"]
    rejected["user_id null"] = rejected.pop("rating null")


def _cut_later(document: dict[str, Any]) -> None:
    document["splits"]["train"]["rule"] = "timestamp < 9999999999"
    document["splits"]["test"]["rule"] = "timestamp >= 9999999999"


def _count_more(document: dict[str, Any]) -> None:
    # Coverage still follows from what is counted, so only the rows can tell.
    held = document["vocabularies"]["user_id"]
    before, held["counted_values"] = held["counted_values"], held["counted_values"] * 2
    for place in (held, *held["curve"]):
        place["coverage"] = share(round(place["coverage"] * before), 2 * before)


FALSE_CLAIMS = {
    "rows of a split": (_set("splits.train.rows", more), "splits.train: .*rows equal to the sum over the shards"),
    "rows of two shards": (_move_rows, "rows: found|has .* rows, expected"),
    "rows of two splits": (_move_rows_between_splits, "rows: found|has .* rows, expected"),
    "rows read": (_set("accounting.read", more), "accounting: .*rows that balance"),
    "rows rejected": (_set("accounting.rejected.rating null", more), "accounting: .*rows that balance"),
    "digest": (_set("digest", lambda digest: digest[::-1]), "digest: found"),
    "vocabulary digest": (_set("vocabularies.item_id.digest", lambda digest: digest[::-1]), "digest: found"),
    "size": (_set("vocabularies.user_id.size", more), "vocabulary user_id: size: found"),
    "tokens": (_set("vocabularies.user_id.tokens", more), "vocabulary user_id: tokens: found"),
    "shard tokens": (_set("vocabularies.user_id.shards.0.tokens", more), "tokens: found"),
    "min_count": (_set("vocabularies.item_id.min_count", lambda _: 1000), "below min_count 1000"),
    "oov buckets": (_set("vocabularies.user_id.oov_buckets", more), "vocabulary user_id: size: found"),
    "max_size": (_set("vocabularies.user_id.max_size", lambda _: 1), "vocabulary user_id: max_size: found"),
    "coverage": (_set("vocabularies.item_id.coverage", lambda share: share / 2), "item_id: coverage: found"),
    "curve": (_set("vocabularies.item_id.curve.1.coverage", lambda share: share / 2), "item_id: curve: found"),
    "no curve": (_set("vocabularies.item_id.curve", lambda _: []), "item_id: curve: found"),
    "oov share": (_set("splits.test.oov_share.user_id", lambda share: share / 2), "oov_share: found"),
    "counted over": (_set("vocabularies.user_id.counted_over", lambda _: "all"), "but occurs .* times in the rows"),
    "rows of the source": (_set("source.rows", more), "source.rows: found"),
    "reason of a reject": (_exchange_reasons, "rows in the rejects files: rating null: found"),
    "invented reject": (_invent_reason, "rows in the rejects files: rating null: found"),
    "values counted": (_count_more, "vocabulary user_id: counted_values: found"),
    "rows per block": (_set("layout.rows_per_block", more), "rows, expected 65"),
    "storage": (_set("features.7.storage", lambda _: "u8"), "bytes more than its|too short"),
    "spec": (_set("spec.columns.rating.range.0", more), "fingerprint .*: found"),
    "source file": (_set("source.files.0.path", lambda path: f"{path}x"), "fingerprint .*: found"),
    "name": (_set("name", lambda name: f"{name}s"), "name: found log, the manifest says logs"),
    "version": (_set("fingerprint", lambda held: held[::-1]), "version: found"),
    "seed": (_set("shuffle.seed", more), "shuffle.seed: found 17, the manifest says 18"),
    "bytes of the source": (_set("source.bytes", more), "source.bytes: found"),
    "format of the source": (_set("source.format", lambda _: "csv"), "source.format: found parquet"),
    "a lower min_count": (
        _set("vocabularies.item_id.min_count", lambda _: 1),
        "vocabularies.item_id.min_count: found 3",
    ),
    "a rule that no row keeps to": (
        _cut_later,
        r"test/.* has timestamp from \d+ to \d+, but was written for test, .* timestamp >= 9999999999",
    ),
    "a rule with a gap after it": (
        _set("splits.test.rule", lambda _: "timestamp >= 7"),
        r"rules of version \w+: train ends at \d+ and test begins at 7",
    ),
    "a rule in other words": (
        _set("splits.test.rule", lambda rule: f"{rule}x"),
        "splits.test.rule: found no interval of timestamp",
    ),
    "padding": (_set("features.2.padding", more), "padding: found 0, the manifest says 1"),
    "limit of the certificate": (
        _set("shuffle.certificate.limit_z", more),
        "limit_z: found 5.0, the manifest says 6.0",
    ),
    "vocabulary columns": (_set("vocabularies.item_id.columns.0.values_per_row", more), "1 value for each entry"),
    "shuffle certificate": (_set("shuffle.certificate.z.train.serial timestamp", more), "serial timestamp: found"),
    "shuffle verdict": (_set("shuffle.certificate.passes", lambda passes: not passes), "passes: found"),
    **{
        f"statistics {number}": (_set(f"features.{statistic}", change), f"{statistic.rpartition('.')[2]}: found")
        for number, (statistic, change) in enumerate(
            [
                ("0.statistics.rows", more),
                ("0.statistics.values", more),
                ("1.statistics.oov", more),
                ("1.statistics.smallest", lambda _: 1),
                ("2.statistics.longest", more),
                ("2.statistics.values", more),
                ("3.statistics.mean", lambda mean: mean * (1 + 1e-6)),
                ("3.statistics.mean", lambda _: None),
                ("3.statistics.largest", lambda _: 4.5),
                ("3.statistics.oov", lambda _: 0),
                ("4.statistics.nulls", more),
                ("4.statistics.smallest", lambda _: None),
                ("7.statistics.largest", more),
            ]
        )
    },
}


@pytest.mark.parametrize(("edit", "message"), FALSE_CLAIMS.values(), ids=FALSE_CLAIMS.keys())
def test_a_false_claim_is_found(
    edit: Callable[[dict[str, Any]], None], message: str, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = dataset / "manifest.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    code, said = verified(dataset, capsys)
    assert code == 3
    assert str(dataset) in said or "vocabulary" in said
    assert re.search(message, said), said


@pytest.mark.parametrize("place", ["../outside", "/etc/passwd", "a/../../b", "c:/x", "train//x"])
def test_a_path_that_leads_outside_is_refused(place: str, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset / "manifest.json"
    document = json.loads(path.read_text())
    document["splits"]["train"]["shards"][0]["path"] = place
    path.write_text(json.dumps(document))
    code, said = verified(dataset, capsys)
    assert code == 3
    assert f"{path}: splits.train.shards.0.path: found '{place}', expected a relative path of plain names" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "this is not a dataset manifest"),
        ('{"format": "other"}', "this is not a dataset manifest"),
        ('{"format": "penstock-dataset", "format_version": "2.0"}', "format_version: found 2.0, expected at most 1.x"),
        ('{"format": "penstock-dataset", "format_version": "1.0"}', "name: missing; it is required"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "show"])
def test_what_is_no_manifest_is_refused(
    command: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    assert run(command, path) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"penstock-data: {path}: ")
    assert message in said
