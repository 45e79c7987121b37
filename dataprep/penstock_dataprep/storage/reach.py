"""Turn the faults of a bucket into errors for people, wherever a step meets them."""

import contextlib
from collections.abc import Iterator

from penstock_shared.errors import PenstockError


def is_bucket(path: str) -> bool:
    """Tell whether a path is in Google Cloud Storage."""
    return path.startswith("gs://")


@contextlib.contextmanager
def reaching(path: str) -> Iterator[None]:
    """Turn the faults of a bucket into errors for people: UserMistake for a missing permission, PenstockError else."""
    try:
        yield
    except Exception as fault:
        raise explained(path, fault) or fault from None


def explained(path: str, fault: Exception) -> PenstockError | None:
    """Return the error to raise for a fault of a bucket, or None for any other fault."""
    if not is_bucket(path) or isinstance(fault, PenstockError | FileNotFoundError | FileExistsError):
        return None
    from penstock_dataprep.storage import buckets

    return buckets.explain(path, fault)
