"""Kill builds without mercy: nothing half built is ever readable, and the next build gives the same bytes."""

import functools
import random
import resource
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from killing import Request, files
from logs import Built, build, plain_log, plain_spec, rich_log, rich_spec, write_parquet

from penstock_dataprep.verify.dataset import verify
from penstock_dataprep.versions.catalog import published

KILLS = 12
# The days are of the same times, so all events are kept.
OF_DAYS = {"key": "user_id", "columns": ["item_id"], "length": 20, "kept": 1000}


def plain(folder: Path) -> dict[str, Any]:
    return rich_spec(write_parquet(rich_log(8_000, seed=9), folder / "log", files=4))


def joined(folder: Path) -> dict[str, Any]:
    """Return the spec of a log with histories, and with a table of its items."""
    log = plain_log(8_000, seed=3)
    items = pa.table({"item": sorted(set(log["item_id"].to_pylist()))})
    items = items.append_column("size", pa.array(range(items.num_rows)))
    items = items.append_column("kind", pa.array([f"k{row % 7}" for row in range(items.num_rows)]))
    pq.write_table(items, folder / "items.parquet", row_group_size=20)
    table = {
        "source": {"files": str(folder / "items.parquet"), "format": "parquet"},
        "key": "item",
        "columns": {"size": {"transform": {"kind": "normalise"}}, "kind": {"vocabulary": {}}},
    }
    history = {"key": "user_id", "columns": ["item_id"], "length": 20}
    # Tables have a shard for each block.
    output = {"rows_per_block": 16, "shard_bytes": "8KB"}
    logs = write_parquet(log, folder / "log", files=4)
    return plain_spec(logs, tables={"item_id": table}, history=history, output=output)


def day(folder: Path) -> dict[str, Any]:
    """Return the spec of a day to append, whose histories have the rows of the day before in them."""
    return plain_spec(write_parquet(plain_log(8_000, seed=5, items=140), folder / "day", files=4), history=OF_DAYS)


@pytest.mark.parametrize("document", [plain, joined, day], ids=["plain", "tables and histories", "appended histories"])
def test_a_build_killed_many_times_is_finished_to_the_same_bytes(document: Any, tmp_path: Path) -> None:
    spec, root = document(tmp_path), tmp_path / "datasets"
    parents: dict[Path, Built] = {}
    if document is day:
        older = plain_spec(write_parquet(plain_log(4_000, seed=4), tmp_path / "earlier"), history=OF_DAYS)
        parents = {place: build(older, place) for place in (tmp_path / "undisturbed", root)}
    undisturbed = Request(spec, tmp_path / "undisturbed", parents.get(tmp_path / "undisturbed"))
    events = undisturbed.file_events(tmp_path / "events")
    root.mkdir(exist_ok=True)
    before = [held.path for held in published(str(root))]
    request = Request(spec, root, parents.get(root))
    moments = random.Random(1)
    codes: list[int] = []
    while codes.count(-signal.SIGKILL) < KILLS or codes[-1] != 0:
        codes.append(request.run_until(moments.randint(1, events)))
        made = [held for held in published(str(root)) if held.path not in before]
        assert len(list(root.rglob("manifest.json"))) == len(before) + len(made)
        for held in made:
            verify(held.manifest, held.path)
            folder = Path(held.path).parent
            assert files(folder) == files(undisturbed.root / folder.relative_to(root))
            if codes[-1] == 0:
                assert files(root) == files(undisturbed.root)
            # Killed while it cleared away, a build has published already. The next one begins anew.
            shutil.rmtree(folder)
            shutil.rmtree(folder.parent / ".scratch", ignore_errors=True)
    assert set(codes) == {0, -signal.SIGKILL}


def small_disk(folder: Path) -> bool:
    """Mount a file system that can be made small, where this machine lets tests do so."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def give_room(disk: Path, size_bytes: int, is_mounted: bool) -> functools.partial[None] | None:
    """Give a disk some room; return what a process must do where, for want of a disk, its files are limited instead."""
    if is_mounted:
        subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(disk)], check=True)
        return None
    limit = size_bytes // 20
    return functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))


def test_a_build_that_runs_out_of_room_goes_on_when_it_has_more(tmp_path: Path) -> None:
    undisturbed = Request(joined(tmp_path), tmp_path / "undisturbed")
    assert undisturbed.run() == 0
    disk = tmp_path / "disk"
    is_mounted = small_disk(disk)
    try:
        request, room, failures = Request(undisturbed.document, disk), 200_000, 0
        while request.run(give_room(disk, room, is_mounted)) != 0:
            failures += 1
            assert not list(disk.rglob("manifest.json"))
            assert published(str(disk)) == []
            room = room * 3 // 2
            assert room < 100_000_000
        assert failures > 2
        assert files(disk) == files(undisturbed.root)
    finally:
        if is_mounted:
            subprocess.run(["umount", str(disk)], check=True)


def test_what_a_killed_writer_left_is_not_published(tmp_path: Path) -> None:
    document = plain(tmp_path)
    version = build(document, tmp_path / "elsewhere").manifest.version
    half_written = tmp_path / "datasets" / "log" / version / "train" / "00000-of-00004.tfrecord.0123456789abcdef.tmp"
    half_written.parent.mkdir(parents=True)
    half_written.write_bytes(b"half")
    built = build(document, tmp_path / "datasets")
    assert built.path.parent.name == version
    assert not half_written.exists()
