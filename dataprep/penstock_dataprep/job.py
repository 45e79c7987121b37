"""Hold what every step of one build needs to know: the spec, its columns, where to write."""

from dataclasses import dataclass

import penstock_dataprep
from penstock_dataprep.histories.partitions import partition_bits
from penstock_dataprep.sources import Origin, Unit
from penstock_dataprep.spec.columns import VocabularySpec
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.storage.files import is_local, join
from penstock_dataprep.storage.scratch import FOLDER_NAME, Scratch
from penstock_dataprep.versions.parent import read_parent
from penstock_shared.manifest import MANIFEST_NAME, Manifest
from penstock_shared.tails import Tails
from penstock_shared.vocabularies import Vocabulary


@dataclass(frozen=True)
class Job:
    """Describe one build: `targets` are the columns taken, `outputs` the features written.

    `origin` is what is read, and `source_columns` are the types of its columns. `base` is the dataset folder
    `<root>/<name>`, `runner` is named in the manifest.
    `scratch_root` is the folder that scratch folders of builds of the dataset lie in.
    `created` is when the build began, so that a step tried again writes the same manifest and another build another.
    `append_to` is the path of the manifest to append to, None for a dataset of its own. `tables` are the jobs that read
    the entity tables, of which each knows its `table`.
    """

    spec: Spec
    targets: tuple[Target, ...]
    outputs: tuple[Target, ...]
    origin: Origin
    source_columns: dict[str, str]
    base: str
    scratch_root: str
    version: str
    fingerprint: str
    created: str
    runner: str
    append_to: str | None
    table: str | None = None
    tables: tuple["Job", ...] = ()

    @property
    def units(self) -> tuple[Unit, ...]:
        """Return the pieces of work of the read step."""
        return self.origin.units

    def vocabularies(self) -> dict[str, tuple[VocabularySpec, tuple[str, ...]]]:
        """Return the rules and the users of every vocabulary, those of the tables' columns among them."""
        found = self.spec.vocabularies()
        for table in self.tables:
            found |= table.spec.vocabularies()
        return found

    def every_target(self) -> tuple[Target, ...]:
        """Return the targets of the log and of all tables."""
        return (*self.targets, *(target for table in self.tables for target in table.targets))

    def label(self, unit: int) -> str:
        """Return the name that a unit of work has in file names."""
        return f"{unit:06d}" if self.table is None else f"{self.table}.{unit:06d}"

    @property
    def scratch(self) -> Scratch:
        """Return the build's scratch folder."""
        return Scratch(join(self.scratch_root, f"{self.version}-{penstock_dataprep.__version__}"))

    @property
    def lock_folder(self) -> str:
        """Return the folder that a build of the version locks: beside a local dataset, wherever the scratch folder is.

        It is the same for all versions of this program, which may write other bytes to the same names. Builds to a
        bucket are told apart on one machine only, by their scratch folder.
        """
        return join(self.base, FOLDER_NAME, self.version) if is_local(self.base) else self.scratch.folder

    @property
    def folder(self) -> str:
        """Return the folder of the version."""
        return join(self.base, self.version)

    @property
    def manifest_path(self) -> str:
        """Return where the manifest will be."""
        return join(self.folder, MANIFEST_NAME)

    @property
    def parent(self) -> Manifest | None:
        """Return the manifest to append to; a worker reads it once, so that no step carries it along."""
        return None if self.append_to is None else read_parent(self.append_to)

    @property
    def parent_tails(self) -> Tails | None:
        """Return the events that the parent kept for the histories of this build's rows, or None."""
        return self.parent.tails if self.parent is not None and self.spec.history is not None else None

    def token_vocabularies(self) -> dict[str, str]:
        """Return, by column of a history, the name of its vocabulary, where that has tokens."""
        columns = self.spec.history.columns if self.spec.history else ()
        used = {target.name: target.vocabulary for target in self.targets if target.name in columns}
        return {name: held for name, held in used.items() if held and self.vocabularies()[held][0].encoding == "table"}

    def key_partition_bits(self, rows: int) -> int:
        """Return the number of leading hash bits that cut the events of so many rows, and kept ones, by their key."""
        return partition_bits(rows + (self.parent_tails.events if self.parent_tails else 0))

    def parent_vocabulary(self, name: str) -> Vocabulary | None:
        """Return the parent's vocabulary `name`, or None."""
        return None if self.parent is None else self.parent.vocabularies.get(name)

    def known_shards(self) -> list[tuple[str, int]]:
        """Return (vocabulary, position) of each file of the parent's vocabularies that this job goes on counting."""
        held = self.parent.vocabularies if self.parent else {}
        names = [name for name in self.spec.vocabularies() if name in held]
        return [(name, position) for name in names for position in range(len(held[name].shards))]
