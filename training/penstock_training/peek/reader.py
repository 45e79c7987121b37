"""Say whether tensorflow-io can read here: it is an extra, and its kernels fit one minor version of TensorFlow."""

import importlib.util

from penstock_shared.errors import UserMistake

# Beside any other the kernels do not load, or load and crash the process at the first row, as with 2.17.
TENSORFLOW = "2.16"
REMEDY = "run pip install 'penstock-training[bigquery]' in an environment of its own, or make peek in the repository"


def refusal(is_installed: bool, tensorflow_version: str | None) -> str | None:
    """Return why BigQuery cannot be read with tensorflow-io, None where it can; a version of None is not looked at."""
    if not is_installed:
        return f"peek: reads BigQuery with tensorflow-io, which is not installed; {REMEDY}"
    if tensorflow_version is not None and not tensorflow_version.startswith(f"{TENSORFLOW}."):
        return (
            f"peek: found TensorFlow {tensorflow_version}, but tensorflow-io reads BigQuery beside {TENSORFLOW} alone; "
            f"{REMEDY}"
        )
    return None


def check_reader(tensorflow_version: str | None = None) -> None:
    """Raise UserMistake with the remedy where tensorflow-io cannot read; imports nothing."""
    reason = refusal(importlib.util.find_spec("tensorflow_io") is not None, tensorflow_version)
    if reason is not None:
        raise UserMistake(reason)
