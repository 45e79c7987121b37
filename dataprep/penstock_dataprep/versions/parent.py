"""Open the version that a build is appended to, and refuse one that the build cannot go on from."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock_dataprep.sources import ROW_COLUMN, Origin
from penstock_dataprep.spec.columns import ColumnSpec
from penstock_dataprep.spec.spec import EntityHashSplit, LeaveLastSplit, Spec
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.files import dataset_folder, exists, is_local, join, read_bytes
from penstock_shared.digests import manifest_digest
from penstock_shared.errors import DataRefused, UserMistake
from penstock_shared.manifest import MANIFEST_NAME, Manifest, load_manifest
from penstock_shared.strict import parse

LEAVE_LAST = (
    "split: by leave_last cannot be appended: which rows are a user's last is known only over all rows, and those of "
    "version {version} are in their shards; split the new rows by time or entity_hash, or build all rows anew"
)
NO_TAILS = (
    "history: {path} keeps no events for the histories of new rows: it was built with history.kept: 0, or before any "
    "version kept them; build all rows anew once, and append from then on"
)


@functools.lru_cache(maxsize=4)
def read_parent(path: str) -> Manifest:
    """Return the manifest at `path`. Raises UserMistake where there is none, DataRefused for a broken one."""
    if not exists(path):
        raise UserMistake(f"--append-to {path}: no such file; expected the path of a {MANIFEST_NAME}")
    manifest = load_manifest(read_bytes(path), path)
    digest = manifest_digest(manifest)
    if digest != manifest.digest:
        raise DataRefused(f"{path}: digest: found {manifest.digest}, but its content has {digest}; was it edited?")
    return manifest


def check_parent(spec: Spec, path: str, root: str) -> Manifest:
    """Return the manifest at `path`. Raises UserMistake unless a build of `spec` under `root` can be appended to it."""
    parent = read_parent(path)
    if spec.name != parent.name:
        raise UserMistake(f"name: found {spec.name!r}, but {path} is of {parent.name!r}; give both the same name")
    found, expected = _real(dataset_folder(path)), _real(join(root, spec.name))
    if found != expected or path.rsplit("/", 2)[-2:-1] not in ([], [parent.version]):
        raise UserMistake(
            f"--append-to {path}: lies in the dataset folder {found}, but the new version goes to {expected}, whose "
            f"manifest cannot list files outside of it; give --out {_outside(found)}, or the manifest there"
        )
    where = f"{path} has"
    held = parse(Spec, parent.spec, f"{path}: spec", UserMistake)
    differing = list(_differences(_binding(held), _binding(spec), ""))
    for name in held.tables.keys() & spec.tables.keys():
        old, new = (_columns(found.tables[name].columns) for found in (held, spec))
        differing += _differences(old, new, f"tables.{name}.columns")
    if differing:
        raise UserMistake("\n".join(f"{key}: found {new!r}, but {where} {old!r}" for key, old, new in differing))
    if spec.history is not None and parent.tails is None:
        raise UserMistake(NO_TAILS.format(path=path))
    if isinstance(spec.split, LeaveLastSplit):
        raise UserMistake(LEAVE_LAST.format(version=parent.version))
    if isinstance(spec.split, EntityHashSplit) and spec.split != held.split:
        raise UserMistake(
            f"split: found {spec.split.model_dump(mode='json')}, but {where} {held.split.model_dump(mode='json')}: "
            "rows of one entity would be in two splits; give both the same split"
        )
    return parent


def check_targets(targets: tuple[Target, ...], parent: Manifest) -> None:
    """Raise UserMistake where a source column has become another type than it had in the parent."""
    for target, feature in zip(targets, parent.features, strict=True):
        vocabulary = None if feature.vocabulary is None else parent.vocabularies[feature.vocabulary]
        held = (feature.dtype if vocabulary is None else vocabulary.token_dtype, feature.lengths is not None)
        found = (target.dtype, target.is_list)
        if held != found:
            raise UserMistake(
                f"columns.{target.name}: {target.source!r} is {_type(*found)}, but in version {parent.version} it is "
                f"{_type(*held)}; set its dtype, or mend the source"
            )
        settled = target.transform.settle(None) if target.transform and not target.is_measured else feature.transform
        if settled != feature.transform:
            raise UserMistake(
                f"columns.{target.name}.transform: it would be {settled}, but in version {parent.version} it is "
                f"{feature.transform}; mend the source"
            )


def check_source(origin: Origin, parent: Manifest, base: str) -> None:
    """Raise UserMistake for a source whose rows `parent`, or a version before it, has read already."""
    older: Manifest | None = parent
    while older is not None:
        if (reason := origin.repeats(older.source, older.version)) is not None:
            raise UserMistake(reason)
        path = join(base, older.parent.version, MANIFEST_NAME) if older.parent else ""
        older = read_parent(path) if path and exists(path) else None


def last_place(targets: tuple[Target, ...], parent: Manifest) -> int:
    """Return the place that ROW_COLUMN counts on from, so that new rows come after all that older versions hold.

    It is the number of rows ever read, or more: a blank line of JSON lines is no row, but has a place.
    """
    places = [
        int(feature.statistics.largest or 0)
        for target, feature in zip(targets, parent.features, strict=True)
        if target.source == ROW_COLUMN and target.transform is None
    ]
    return max(parent.accounting.read, *places, 0)


def _binding(spec: Spec) -> dict[str, Any]:
    """Return what all versions of a dataset have in common."""
    document = spec.model_dump(mode="json", by_alias=True)
    if document["history"] is not None:
        del document["history"]["kept"]
    return {
        "columns": {"order": list(document["columns"]), **document["columns"]},
        "output": {key: document["output"][key] for key in ("layout", "rows_per_block")},
        "shuffle": {"seed": document["shuffle"]["seed"]},
        **{key: document[key] for key in ("history", "examples", "sequences")},
    }


def _columns(columns: dict[str, ColumnSpec]) -> dict[str, Any]:
    return {name: column.model_dump(mode="json", by_alias=True) for name, column in columns.items()}


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in (*old, *(key for key in new if key not in old)):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}".strip("."))
    elif old != new:
        yield path, old, new


def _type(dtype: str, is_list: bool) -> str:
    return f"a list of {dtype}" if is_list else dtype


def _real(folder: str) -> str:
    return str(Path(folder).resolve()) if is_local(folder) else folder.rstrip("/")


def _outside(folder: str) -> str:
    return folder.rpartition("/")[0]
