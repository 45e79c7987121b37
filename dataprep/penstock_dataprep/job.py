"""Hold what every step of one build needs to know: the spec, its columns, where to write."""

from dataclasses import dataclass

import penstock_dataprep
from penstock_dataprep.scratch import Scratch
from penstock_dataprep.sources import Unit
from penstock_dataprep.spec import Spec
from penstock_dataprep.storage import join
from penstock_dataprep.targets import Target
from penstock_shared.manifest import MANIFEST_NAME, SourceFile


@dataclass(frozen=True)
class Job:
    """Describe one build; `base` is the dataset folder `<root>/<name>`, `runner` is named in the manifest."""

    spec: Spec
    targets: tuple[Target, ...]
    source_columns: dict[str, str]
    files: tuple[SourceFile, ...]
    units: tuple[Unit, ...]
    rows_expected: int | None
    base: str
    version: str
    fingerprint: str
    runner: str

    @property
    def scratch(self) -> Scratch:
        """Return the build's scratch folder, beside the version it makes."""
        return Scratch(join(self.base, ".scratch", f"{self.version}-{penstock_dataprep.__version__}"))

    @property
    def folder(self) -> str:
        """Return the folder of the version."""
        return join(self.base, self.version)

    @property
    def manifest_path(self) -> str:
        """Return where the manifest will be."""
        return join(self.folder, MANIFEST_NAME)
