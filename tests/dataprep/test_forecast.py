"""Plan builds of local files: the numbers a build would make, the mistakes it would refuse, and nothing written."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pv
import pytest
from logs import build, changed, left_behind, plain_log, plain_spec, rich_log, rich_spec, run, write_parquet, write_spec

ROWS = 6000


def planned(
    document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], *flags: str
) -> dict[str, Any]:
    """Return the plan of a spec as JSON, its estimates by name."""
    capsys.readouterr()  # a build before it says how far it is, when it takes long enough
    assert run("plan", write_spec(tmp_path / "spec.yaml", document), "--json", *flags) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    found: dict[str, Any] = json.loads(printed.out)
    return {**found, "lines": {line["name"]: line for line in found["estimates"]}}


def value(plan: dict[str, Any], name: str) -> float:
    return float(plan["lines"][name]["value"])


def test_a_plan_of_a_log_that_is_sampled_whole_is_what_a_build_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = rich_spec(write_parquet(rich_log(ROWS, seed=1), tmp_path / "log", files=3))
    plan = planned(document, tmp_path, capsys, "--out", str(tmp_path / "datasets"))
    assert left_behind(tmp_path / "datasets") == []
    manifest = build(document, tmp_path / "datasets").manifest
    assert (plan["version"], plan["is_built"]) == (manifest.version, False)
    assert value(plan, "rows read") == manifest.accounting.read == ROWS
    assert value(plan, "rows valid") == pytest.approx(sum(split.rows for split in manifest.splits.values()))
    # Counted over all rows and not only those of train, and before min_count.
    assert value(plan, "vocabulary user_id") >= manifest.vocabularies["user_id"].tokens
    written = sum(split.bytes for split in manifest.splits.values())
    # Blocks of 64 rows have more headers than blocks of the usual size.
    assert 0.7 < value(plan, "dataset") / written <= 1.1
    for name, split in manifest.splits.items():
        assert abs(value(plan, f"shards of {name}") - len(split.shards)) <= 1
    assert value(plan, "bytes scanned") == sum(path.stat().st_size for path in (tmp_path / "log").iterdir())
    assert any("columns.rating" in warning and "null" in warning for warning in plan["warnings"])
    assert planned(document, tmp_path, capsys, "--out", str(tmp_path / "datasets"))["is_built"]


def test_a_plan_takes_no_more_workers_than_the_flags_allow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = plain_spec(write_parquet(plain_log(ROWS, seed=5), tmp_path / "log"))
    slow = ("--assume", "rows_per_second_per_vcpu=1")
    for flags, workers in (
        ((), 50),
        (("--", "--max_num_workers=7"), 7),
        (("--assume", "workers=9", "--", "--max_num_workers=7"), 9),
    ):
        assert value(planned(document, tmp_path, capsys, *slow, *flags), "workers") == workers


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_of_text_are_estimated(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = plain_log(ROWS, seed=2)
    path = tmp_path / f"log.{kind}"
    if kind == "csv":
        pv.write_csv(log, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in log.to_pylist()))
    plan = planned(plain_spec(str(path), source={"files": str(path), "format": kind}), tmp_path, capsys)
    assert value(plan, "rows read") == pytest.approx(ROWS, rel=0.01)
    assert value(plan, "bytes scanned") == path.stat().st_size


def test_only_the_bytes_of_the_columns_taken_are_scanned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = plain_log(ROWS, seed=3)
    wide = log.append_column("text", pa.array([f"{k:040d}" for k in range(ROWS)]))
    files = write_parquet(wide, tmp_path / "wide")
    plan = planned(plain_spec(files), tmp_path, capsys)
    assert value(plan, "bytes scanned") < 0.7 * Path(files[0]).stat().st_size


def test_lists_of_events_and_assumptions_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_parquet(plain_log(ROWS, seed=4), tmp_path / "log")
    history = {"key": "user_id", "columns": ["item_id"], "length": 50}
    plan = planned(plain_spec(files, history=history), tmp_path, capsys, "--assume", "startup_seconds=0")
    assert value(plan, "mean list") == pytest.approx((ROWS / 200 - 1) / 2, rel=0.05)
    assert plan["assumptions"]["startup_seconds"]["value"] == 0
    tails = build(plain_spec(files, history=history), tmp_path / "datasets").manifest.tails
    assert tails is not None
    assert value(plan, "events kept") == pytest.approx(tails.events, rel=0.05)
    assert value(plan, "kept for appends") == pytest.approx(tails.bytes, rel=0.2)
    sequences = {"key": "user_id", "columns": ["item_id"], "length": 20}
    plan = planned(plain_spec(files, examples="sequences", sequences=sequences), tmp_path, capsys)
    assert value(plan, "mean list") == 20
    assert value(plan, "bytes a sequence") > 20


def test_a_disk_without_room_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = plain_spec(write_parquet(plain_log(ROWS, seed=6), tmp_path / "log"))
    flags = ("--out", str(tmp_path / "datasets"), "--assume")
    without = planned(document, tmp_path, capsys)["warnings"]
    assert planned(document, tmp_path, capsys, *flags, "scratch_bytes_per_row=1")["warnings"] == without
    plan = planned(document, tmp_path, capsys, *flags, "scratch_bytes_per_row=1_000_000_000_000")
    assert value(plan, "scratch files") == ROWS * 10**12
    assert "bytes free, and scratch files and the dataset need about" in plan["warnings"][-1]


def test_a_plan_for_people_shows_the_arithmetic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write_spec(tmp_path / "spec.yaml", plain_spec(write_parquet(plain_log(ROWS, seed=5), tmp_path / "log")))
    assert run("plan", spec, "--out", tmp_path / "datasets") == 0
    said = capsys.readouterr().out
    for part in ("plan of log  version", "rows/s", "usd_per_vcpu_hour", "cost of the build", "assumed, not measured"):
        assert part in said


@pytest.mark.parametrize(
    ("path", "changed_to", "flags", "code", "message"),
    [
        ("columns.user_id.from", "usr_id", [], 2, "columns.user_id: no column 'usr_id'"),
        ("columns.item_id.from", "rating", [], 2, "which cannot become string"),
        ("shufle", {"seed": 1}, [], 2, "unknown key 'shufle'"),
        ("source.files", "nowhere.parquet", [], 2, "nowhere.parquet does not exist"),
        ("source.files", "{folder}/broken.parquet", [], 3, "not a whole Parquet file"),
        ("name", "log", ["--out", "{folder}/broken.parquet"], 2, "cannot be made"),
        ("name", "log", ["--append-to", "{folder}/none.json"], 2, "none.json"),
        ("name", "log", ["--assume", "wrkers=2"], 2, "did you mean 'workers'"),
        ("name", "log", ["--", "--runer=FnApiRunner"], 2, "--runer: not an option of Beam"),
    ],
)
def test_what_a_build_refuses_a_plan_refuses(
    path: str,
    changed_to: Any,
    flags: list[str],
    code: int,
    message: str,
    log: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 is not enough")
    changed_to = changed_to.replace("{folder}", str(tmp_path)) if isinstance(changed_to, str) else changed_to
    spec = write_spec(tmp_path / "spec.yaml", changed(plain_spec([log]), path, changed_to))
    assert run("plan", spec, *(flag.replace("{folder}", str(tmp_path)) for flag in flags)) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert "Traceback" not in printed.err
