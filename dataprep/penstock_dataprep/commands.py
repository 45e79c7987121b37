"""Run each command of penstock-data, and print what it did."""

import json
import logging
import sys
import time
import warnings

from penstock_dataprep.spec.spec import load_spec
from penstock_dataprep.storage.files import plain, read_bytes
from penstock_shared.errors import UserMistake
from penstock_shared.manifest import dump_manifest, load_manifest


def run_generate(log: str, rows: int, users: int, items: int, seed: int, files: int | None) -> None:
    """Write a synthetic log."""
    from penstock_dataprep.generate import generate
    from penstock_dataprep.progress import BOARD, shown

    started = time.monotonic()
    BOARD.clear()
    BOARD.start("generate", rows)
    with shown(BOARD):
        generate(log, rows, users, items, seed, files, lambda written: BOARD.advance("generate", written))
    seconds = time.monotonic() - started
    print(f"generated {rows:,} rows in {log} ({seconds:.1f} s, {rows / seconds:,.0f} rows/s)")


def run_build(spec_path: str, root: str, runner_flags: list[str], append_to: str | None, scratch: str | None) -> None:
    """Build a dataset, or find it built; the last line printed is the manifest's path."""
    spec = load_spec(spec_path, _read_text(spec_path))
    started = time.monotonic()
    _quiet_third_parties()
    from penstock_dataprep.build import build

    path, reused = build(spec, root, runner_flags, append_to, scratch)
    manifest = load_manifest(read_bytes(path), path)
    seconds = time.monotonic() - started
    verb = "reused" if reused else "built"
    splits = ", ".join(f"{split.rows:,} {name}" for name, split in manifest.splits.items())
    rejected = sum(manifest.accounting.rejected.values())
    print(f"{verb} {manifest.name} version {manifest.version}: {splits} rows, {rejected:,} rejected")
    for name, table in manifest.tables.items():
        entities = table.accounting.written
        print(f"table {name}: {entities:,} of {entities + table.missing:,} tokens have an entity")
    if not reused:
        read = manifest.source.rows
        print(f"read {read:,} rows in {seconds:.1f} s, {read / seconds:,.0f} rows/s")
    print(path)


def run_plan(
    spec_path: str,
    root: str | None,
    runner_flags: list[str],
    append_to: str | None,
    scratch: str | None,
    assumed: list[str],
    as_json: bool,
) -> None:
    """Print what a build would read, make, take and cost, and what would hurt later."""
    spec = load_spec(spec_path, _read_text(spec_path))
    _quiet_third_parties()
    from penstock_dataprep.forecast import forecast
    from penstock_dataprep.forecast.describe import describe_forecast, forecast_document

    held = forecast(spec, root, runner_flags, append_to, scratch, tuple(assumed))
    print(json.dumps(forecast_document(held), indent=1) if as_json else describe_forecast(held))


def run_rehearse(spec_path: str, recipe: str, settings: list[str], rows: int, keep: str | None) -> None:
    """Carry a small sample through both programs, and print what each step took and made."""
    if rows < 1:
        raise UserMistake(f"--rows: found {rows}, expected at least 1")
    spec = load_spec(spec_path, _read_text(spec_path))
    _quiet_third_parties()
    from penstock_dataprep.rehearsal import rehearse

    rehearse(spec, recipe, settings, rows, keep, lambda line: print(line, flush=True))


def run_verify(path: str) -> None:
    """Read every byte of a dataset and hold it against its manifest."""
    path = plain(path)
    from penstock_dataprep.progress import BOARD, shown
    from penstock_dataprep.verify.dataset import verify

    manifest = load_manifest(_read_dataset(path), path)
    started = time.monotonic()
    BOARD.clear()
    rows = sum(split.rows for split in manifest.splits.values())
    BOARD.start("verify", rows)
    with shown(BOARD):
        claims = verify(manifest, path)
    seconds = time.monotonic() - started
    what = f"{manifest.name} version {manifest.version}"
    print(f"verified {what}: {claims:,} claims hold over {rows:,} rows ({seconds:.1f} s)")


def run_show(path: str, as_json: bool) -> None:
    """Print what a dataset holds."""
    from penstock_dataprep.versions.show import describe

    manifest = load_manifest(_read_dataset(path), path)
    print(dump_manifest(manifest).rstrip() if as_json else describe(manifest))


def run_list(root: str, as_json: bool) -> None:
    """Print the published versions under a folder."""
    from penstock_dataprep.versions.catalog import catalog_document, describe_catalog, published

    versions = published(plain(root))
    print(json.dumps(catalog_document(versions), indent=1) if as_json else describe_catalog(versions))


def run_diff(before_path: str, after_path: str, as_json: bool) -> None:
    """Print how two versions differ and how far their values drifted."""
    from penstock_dataprep.statistics.drift import drifts, load_sketches
    from penstock_dataprep.versions.diff import describe_diff, differences

    before_path, after_path = plain(before_path), plain(after_path)
    before, after = (load_manifest(_read_dataset(path), path) for path in (before_path, after_path))
    found, drifted = (
        differences(before, after),
        drifts(load_sketches(before, before_path), load_sketches(after, after_path)),
    )
    if as_json:
        changes = [{"what": place, "before": old, "after": new} for place, old, new in found]
        moved = {name: held.model_dump(mode="json") for name, held in drifted.items()}
        document = {"differences": changes, "drift": moved}
        print(json.dumps(document, indent=1))
    else:
        print(describe_diff(found, drifted))


def run_gc(root: str, keep: int | None, is_delete: bool) -> None:
    """Print, and delete if told to, what no published version needs."""
    from penstock_dataprep.versions.gc import delete, describe_garbage, find_garbage

    if keep is not None and keep < 1:
        raise UserMistake(f"--keep: found {keep}, expected at least 1; to delete a whole dataset, delete its folder")
    garbage = find_garbage(plain(root), keep)
    size = sum(held.size_bytes for held in garbage)
    if garbage:
        print(describe_garbage(garbage))
    if is_delete:
        delete(garbage)
    verb = "deleted" if is_delete else "would delete (--delete does)"
    print(f"{verb} {len(garbage):,} files, {size:,} bytes")


def _read_text(path: str) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise UserMistake(f"{path}: no such file; expected a spec in YAML") from None
    except UnicodeDecodeError as fault:
        raise UserMistake(f"{path}: not UTF-8 text ({fault}); expected a spec in YAML") from None


def _read_dataset(path: str) -> bytes:
    try:
        return read_bytes(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserMistake(f"{path}: no such file; expected the path of a manifest.json") from None


def _quiet_third_parties() -> None:
    """Keep Beam's and google-auth's advice for developers away from users; their errors still show."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.ERROR)
