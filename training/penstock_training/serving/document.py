"""Read the model.json of an exported model, as a client would."""

import json
import posixpath
from typing import Any

from penstock_shared.errors import DataRefused, UserMistake
from penstock_training.storage import exists, read_text

MODEL_NAME = "model.json"
FORMAT, FORMAT_VERSION = "penstock-model", "1.0"


def read_document(model_path: str) -> dict[str, Any]:
    """Return the model.json of the model in a folder.

    Raises UserMistake where the folder is no exported model, DataRefused where the file is damaged or of another major
    version.
    """
    path = posixpath.join(model_path, MODEL_NAME)
    if not exists(path):
        raise UserMistake(
            f"{model_path}: is not an exported model: it has no {MODEL_NAME}; give the --out of penstock-train export"
        )
    try:
        document = json.loads(read_text(path))
    except ValueError as fault:
        raise DataRefused(f"{path}: not JSON ({fault}); export the run again") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise DataRefused(f"{path}: its format is {found!r}, expected {FORMAT!r}; export the run again")
    version = str(document.get("format_version"))
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise DataRefused(
            f"{path}: has format_version {version}, expected {FORMAT_VERSION}; take the version of penstock-training "
            "that wrote it, or export the run again"
        )
    return document
