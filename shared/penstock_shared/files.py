"""Name the files of a dataset: paths that stay inside its folder, with what it takes to tell that a file is whole."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from penstock_shared.strict import Strict

Count = Annotated[int, Field(ge=0)]
Crc32c = Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def _stay_inside(path: str) -> str:
    parts = path.split("/")
    if re.search(r"[\\:\x00]", path) or any(part in ("", ".", "..") for part in parts):
        raise ValueError("a relative path of plain names, so that it cannot leave the dataset folder")
    return path


RelativePath = Annotated[str, AfterValidator(_stay_inside)]


class File(Strict):
    """Point at one file of the dataset, with what it takes to tell that it is whole."""

    path: RelativePath
    bytes: Count
    crc32c: Crc32c

    @property
    def version(self) -> str:
        """Return the version whose build wrote the file, the first name of its path."""
        return self.path.partition("/")[0]
