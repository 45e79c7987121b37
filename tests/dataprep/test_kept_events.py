"""Keep the events that rows to come need: described, verified, handed on, and refused where there are none."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from event_logs import BY_TIME, document
from history_days import LATER, LENGTH, RULES, chain_of, day, history, kept_events
from logs import Built, build, changed, refused, run, write_parquet, write_spec

from penstock_dataprep.verify.dataset import verify
from penstock_shared import UserMistake
from penstock_shared.digests import manifest_digest


@pytest.fixture(scope="module")
def days() -> list[pa.Table]:
    return [day(number, LATER) for number in range(3)]


@pytest.fixture(scope="module")
def versions(days: list[pa.Table], tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    return chain_of(days[:2], tmp_path_factory.mktemp("kept"))


def spec_of_day(table: pa.Table, folder: Path, kept: int | None = None) -> dict[str, Any]:
    return document(write_parquet(table, folder / "log"), BY_TIME, history(kept), columns=RULES)


def copy_of(built: Built, folder: Path) -> Built:
    shutil.copytree(built.base, folder / "out" / "log")
    return Built(built.manifest, folder / "out" / "log" / built.manifest.version / "manifest.json", reused=False)


def test_of_each_key_the_latest_events_are_kept(days: list[pa.Table], versions: list[Built]) -> None:
    for number, built in enumerate(versions):
        rows = [row for table in days[: number + 1] for row in table.to_pylist()]
        by_user: dict[str, list[int]] = {}
        for row in rows:
            by_user.setdefault(row["user_id"], []).append(row["timestamp"])
        expected = sorted(
            (time, len(times) - min(len(times), 2 * LENGTH))
            for times in by_user.values()
            for time in sorted(times)[-2 * LENGTH :]
        )
        found = kept_events(built)
        assert sorted((time, dropped) for _, time, dropped, *_ in found) == expected
        tails = built.manifest.tails
        assert tails is not None
        assert (tails.keys, tails.events, tails.seen) == (len(by_user), len(found), len(rows))
        assert len({key for key, *_ in found}) == len(by_user)


def test_a_version_that_keeps_nothing_is_refused_as_a_parent(
    days: list[pa.Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = build(spec_of_day(days[0], tmp_path / "0", kept=0), tmp_path / "out")
    assert first.manifest.tails is None
    assert not list(first.path.parent.glob("tails"))
    spec = write_spec(tmp_path / "spec.yaml", spec_of_day(days[1], tmp_path / "1"))
    assert run("build", spec, "--out", tmp_path / "out", "--append-to", first.path) == 2
    assert "keeps no events for the histories of new rows: it was built with history.kept: 0" in capsys.readouterr().err


def test_fewer_kept_events_than_a_history_has_are_refused(
    days: list[pa.Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, errors = refused(tmp_path, capsys, spec_of_day(days[0], tmp_path / "0", kept=LENGTH - 1))
    assert code == 2
    assert "history.kept: found 6, expected 0, or at least length, 7" in errors


def test_how_many_are_kept_may_change_but_nothing_else_of_a_history(
    days: list[pa.Table], versions: list[Built], tmp_path: Path
) -> None:
    parent = copy_of(versions[1], tmp_path)
    spec = spec_of_day(days[2], tmp_path, kept=LENGTH + 1)
    with pytest.raises(UserMistake, match=r"history.length: found 8, but .* has 7"):
        build(changed(spec, "history.length", 8), tmp_path / "out", append_to=parent)
    last = build(spec, tmp_path / "out", append_to=parent)
    assert last.manifest.tails is not None
    assert last.manifest.tails.kept == LENGTH + 1
    verify(last.manifest, str(last.path))


def test_verify_finds_what_is_wrong_with_kept_events(
    versions: list[Built], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = copy_of(versions[1], tmp_path)
    document = json.loads(built.path.read_text())
    edits = [
        ("seen", 1, "tails: seen: found"),
        ("kept", -1, "expected at most 13"),
        ("partition_bits", 1, "its keys do not ascend within partition 0"),
    ]
    for place, change, said in edits:
        edited = json.loads(json.dumps(document))
        edited["tails"][place] += change
        built.path.write_text(json.dumps(edited))
        assert run("verify", built.path) == 3
        assert said in capsys.readouterr().err
    built.path.write_text(json.dumps(document))
    file = built.base / document["tails"]["files"][0]["path"]
    flipped = bytearray(file.read_bytes())
    flipped[40] ^= 1
    file.write_bytes(flipped)
    assert run("verify", built.path) == 3
    assert f"{file}: corrupt" in capsys.readouterr().err


def test_kept_events_count_in_the_digest(versions: list[Built]) -> None:
    manifest = versions[1].manifest
    assert manifest_digest(manifest) == manifest.digest
    assert manifest_digest(manifest.model_copy(update={"tails": None})) != manifest.digest


def test_a_version_hands_on_all_that_is_needed_when_older_ones_are_deleted(
    days: list[pa.Table], versions: list[Built], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = copy_of(versions[1], tmp_path)
    older = newest.base / versions[0].manifest.version
    assert list(older.glob("tails/*"))
    assert run("gc", tmp_path / "out", "--keep", 1, "--delete") == 0
    assert not list(older.glob("tails/*"))
    assert list(older.glob("train/*.tfrecord"))
    assert list(newest.path.parent.glob("tails/*"))
    built = build(spec_of_day(days[2], tmp_path), tmp_path / "out", append_to=newest)
    verify(built.manifest, str(built.path))
    capsys.readouterr()
    assert run("show", built.path) == 0
    tails = built.manifest.tails
    assert tails is not None
    said = f"of each of {tails.keys:,} values of user_id the latest 14"
    assert said in capsys.readouterr().out
    assert said in (built.path.parent / "card.html").read_text()
    assert run("diff", newest.path, built.path) == 0
    assert "tails.events" in capsys.readouterr().out
