"""Find where buckets lie, and tell whether data crosses regions on its way."""

from collections.abc import Sequence

from penstock_dataprep.storage.files import is_bucket

# The multi-regions, and how the names of the regions in them begin.
MULTI_REGIONS = {"US": ("us-",), "EU": ("europe-",), "ASIA": ("asia-",)}
# Dual-regions with names of their own, and their regions.
DUAL_REGIONS = {
    "NAM4": ("us-central1", "us-east1"),
    "EUR4": ("europe-north1", "europe-west4"),
    "EUR5": ("europe-west1", "europe-west2"),
    "EUR7": ("europe-west2", "europe-west3"),
    "EUR8": ("europe-west3", "europe-west6"),
    "ASIA1": ("asia-northeast1", "asia-northeast2"),
}


def is_near(one: str, other: str) -> bool:
    """Tell whether two locations of Google Cloud are the same, or one lies in the other."""
    return one.upper() == other.upper() or _holds(one, other) or _holds(other, one)


def _holds(wide: str, narrow: str) -> bool:
    if wide.upper() in DUAL_REGIONS:
        return narrow.lower() in DUAL_REGIONS[wide.upper()]
    return narrow.lower().startswith(MULTI_REGIONS.get(wide.upper(), ("\0",)))


def location_warnings(places: Sequence[tuple[str, str]]) -> list[str]:
    """Return a warning for each (what, location) that is not near the first."""
    warnings = []
    for what, location in places[1:]:
        if not is_near(places[0][1], location):
            warnings.append(
                f"{what}: lies in {location}, but the {places[0][0]} in {places[0][1]}: all bytes cross regions, "
                "which is billed and slow; use one region"
            )
    return warnings


def bucket_location(url: str) -> str | None:
    """Return where the bucket of a gs:// URL lies; None for other paths and where the account may not ask."""
    if not is_bucket(url):
        return None
    from penstock_dataprep.storage import buckets  # its imports take most of a second

    return buckets.location(url)
