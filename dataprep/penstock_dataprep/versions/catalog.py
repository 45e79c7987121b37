"""List the published versions under a folder, oldest first in each dataset."""

from dataclasses import dataclass

from penstock_dataprep.storage.files import exists, join, read_bytes
from penstock_dataprep.storage.find import glob
from penstock_dataprep.versions.text_table import text_table
from penstock_shared.errors import UserMistake
from penstock_shared.manifest import MANIFEST_NAME, Manifest, load_manifest


@dataclass(frozen=True)
class Published:
    """Hold a published version: its manifest and the manifest's path."""

    path: str
    manifest: Manifest


def published(root: str) -> list[Published]:
    """Return the versions under `root`, the folder given to `build --out`. Raises UserMistake where there is none."""
    if not exists(root):
        raise UserMistake(f"{root}: no such folder; expected one given to build --out")
    paths = glob(join(root, "*", "*", MANIFEST_NAME))
    found = [Published(path, load_manifest(read_bytes(path), path)) for path in paths]
    return sorted(found, key=lambda held: (held.manifest.name, held.manifest.created, held.manifest.version))


def describe_catalog(versions: list[Published]) -> str:
    """Return a line of text per version."""
    rows = [
        (
            held.manifest.name,
            held.manifest.version,
            held.manifest.created,
            f"{held.manifest.accounting.written:,}",
            f"{sum(split.bytes for split in held.manifest.splits.values()):,}",
            held.manifest.parent.version if held.manifest.parent else "",
            held.path,
        )
        for held in versions
    ]
    return text_table(("name", "version", "created", "rows", "bytes", "parent", "manifest"), rows)


def catalog_document(versions: list[Published]) -> list[dict[str, object]]:
    """Return what `list --json` prints."""
    return [
        {
            "name": held.manifest.name,
            "version": held.manifest.version,
            "created": held.manifest.created,
            "digest": held.manifest.digest,
            "rows": held.manifest.accounting.written,
            "bytes": sum(split.bytes for split in held.manifest.splits.values()),
            "parent": held.manifest.parent.version if held.manifest.parent else None,
            "manifest": held.path,
        }
        for held in versions
    ]
