"""Open a dataset by its manifest, and refuse one whose files are not there as the manifest says."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from penstock_shared.digests import manifest_digest
from penstock_shared.errors import DataRefused, UserMistake
from penstock_shared.files import File
from penstock_shared.layout import BLOCK_INDEX_ENTRY_BYTES
from penstock_shared.manifest import MANIFEST_NAME, Manifest, load_manifest
from penstock_shared.splits import Split
from penstock_shared.strict import nearest
from penstock_training.data.lease import Lease
from penstock_training.data.order import BlockTable
from penstock_training.storage import UNREACHABLE, ask_of_each, exists, file_bytes, is_folder, read_bytes, reason


@dataclass(frozen=True)
class Dataset:
    """Hold a manifest, where it was read from, and the folder its paths are relative to.

    `copies` says where files lie that are to be read from somewhere else, by their paths in the manifest; they stay
    there as long as `lease` is held.
    """

    manifest: Manifest
    manifest_path: str
    folder: str
    copies: dict[str, str] = field(default_factory=dict)
    lease: Lease | None = None

    def path(self, file: File) -> str:
        """Return where a file of the manifest lies."""
        return self.copies.get(file.path, posixpath.join(self.folder, file.path))

    def split(self, name: str) -> Split:
        """Return a split; raises UserMistake naming the splits there are."""
        if name not in self.manifest.splits:
            raise UserMistake(f"{self.manifest_path}: no split {name!r}; {nearest(name, self.manifest.splits)}")
        return self.manifest.splits[name]

    def block_table(self, split_name: str) -> BlockTable:
        """Read a split's block index and return where each of its blocks lies.

        Raises DataRefused when the index does not hold one ascending offset for each block of each shard.
        """
        split = self.split(split_name)
        path = self.path(split.block_index)
        offsets = np.frombuffer(_read(path), "<u8").astype(np.int64)
        if len(offsets) != split.blocks:
            raise DataRefused(
                f"{path}: holds {len(offsets)} block offsets, expected {split.blocks} for split {split_name}"
            )
        table = BlockTable.of_split(split, offsets, self.manifest.layout.rows_per_block)
        if (table.bytes <= 0).any() or (table.rows <= 0).any():
            block = int(np.flatnonzero((table.bytes <= 0) | (table.rows <= 0))[0])
            shard = split.shards[int(table.shards[block])]
            raise DataRefused(
                f"{path}: entry {block}, {offsets[block]}, does not fit shard {shard.path} "
                f"({shard.rows} rows, {shard.blocks} blocks, {shard.bytes} bytes); rebuild the dataset"
            )
        return table


def open_dataset(path: str) -> Dataset:
    """Open the dataset whose manifest.json, or the version folder that holds one, is at `path`.

    Raises UserMistake when nothing is there, and DataRefused when the manifest is broken or its digest is not that
    of its content.
    """
    if is_folder(path):
        path = posixpath.join(path, MANIFEST_NAME)
    if not exists(path):
        raise UserMistake(f"{path}: no such file; give a dataset's {MANIFEST_NAME} or the version folder that holds it")
    manifest = load_manifest(_read(path), path)
    digest = manifest_digest(manifest)
    if digest != manifest.digest:
        raise DataRefused(f"{path}: digest: found {manifest.digest}, but its content has {digest}; was it edited?")
    version_folder = posixpath.dirname(path) or "."
    named = posixpath.basename(version_folder) not in (".", "..")
    folder = posixpath.dirname(version_folder) if named else posixpath.join(version_folder, "..")
    return Dataset(manifest, path, folder or ".")


def check_files(dataset: Dataset, split_names: Iterable[str]) -> None:
    """Check that every file of the splits, vocabularies and tables is there with the bytes the manifest says.

    Raises DataRefused with one line for each file that is not.
    """
    files: list[File] = []
    for name in split_names:
        split = dataset.split(name)
        files += [*split.shards, split.block_index]
        if split.block_index.bytes != split.blocks * BLOCK_INDEX_ENTRY_BYTES:
            raise DataRefused(
                f"{dataset.manifest_path}: splits.{name}.block_index: found {split.block_index.bytes} bytes, "
                f"expected {BLOCK_INDEX_ENTRY_BYTES} for each of {split.blocks} blocks"
            )
    for vocabulary in dataset.manifest.vocabularies.values():
        files += vocabulary.shards
    for table in dataset.manifest.tables.values():
        files += table.shards
    faults = ask_of_each(lambda file: _fault(dataset.path(file), file.bytes), files)
    if any(faults):
        raise DataRefused("\n".join(filter(None, faults)))


def _fault(path: str, expected_bytes: int) -> str | None:
    try:
        found_bytes = file_bytes(path)
    except tf.errors.NotFoundError:
        return f"{path}: missing; the manifest lists it with {expected_bytes} bytes; copy the dataset again, whole"
    if found_bytes != expected_bytes:
        return f"{path}: found {found_bytes} bytes, expected {expected_bytes}; copy the dataset again, whole"
    return None


def _read(path: str) -> bytes:
    try:
        return read_bytes(path)
    except UNREACHABLE:
        raise
    except tf.errors.OpError as fault:
        raise DataRefused(f"{path}: cannot be read: {reason(fault)}") from None
