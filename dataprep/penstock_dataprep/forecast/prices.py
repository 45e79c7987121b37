"""Hold every number that a forecast assumes, with its date and source: all change, so each is a default."""

from collections.abc import Iterable
from typing import NamedTuple

from penstock_shared.errors import UserMistake
from penstock_shared.strict import nearest

DATAFLOW = "list price, us-central1, cloud.google.com/dataflow/pricing"
BIGQUERY = "list price, US, on demand, cloud.google.com/bigquery/pricing"
ASSUMED = "assumed, not measured"


class Assumption(NamedTuple):
    """Hold one number, its unit, when it was last known to hold, and where it is from."""

    value: float
    unit: str
    date: str
    source: str


ASSUMPTIONS: dict[str, Assumption] = {
    "rows_per_second_per_vcpu": Assumption(
        1_150_000, "rows/s", "2026-11-20", "benchmarks/scale.py: 100M rows of 4 columns, a local disk, 2 cores, halved"
    ),
    "columns_measured": Assumption(
        4, "columns", "2026-11-20", "benchmarks/prepare.py; time is taken to grow with them"
    ),
    "scratch_bytes_per_row": Assumption(
        80,
        "bytes",
        "2026-11-20",
        "60 were measured on a log of 4 columns, and rows are written once more in a bucket; taken to grow with them",
    ),
    "cloud_efficiency": Assumption(0.5, "", "2026-11-20", f"{ASSUMED}: what buckets and other workers leave of a rate"),
    "workers": Assumption(50, "workers", "2026-11-20", f"{ASSUMED}: what --max_num_workers allows"),
    "vcpus_per_worker": Assumption(4, "vCPU", "2026-11-20", "n1-standard-4"),
    "memory_gb_per_worker": Assumption(15, "GB", "2026-11-20", "n1-standard-4"),
    "startup_seconds": Assumption(240, "s", "2026-11-20", f"{ASSUMED}: until workers run, and after they ended"),
    "bytes_shuffled_per_byte_written": Assumption(2, "", "2026-11-20", f"{ASSUMED}: Beam moves counts, pieces, files"),
    "usd_per_vcpu_hour": Assumption(0.056, "USD", "2024", f"{DATAFLOW}; batch"),
    "usd_per_gb_memory_hour": Assumption(0.003557, "USD", "2024", f"{DATAFLOW}; batch"),
    "usd_per_gb_shuffled": Assumption(0.011, "USD", "2024", f"{DATAFLOW}; batch, without its discounts"),
    "usd_per_tib_queried": Assumption(6.25, "USD", "2026-06", f"{BIGQUERY}; free tier left out"),
    "usd_per_tib_read": Assumption(1.1, "USD", "2024", f"{BIGQUERY}; Storage Read API, free tier left out"),
    "usd_per_gb_month_stored": Assumption(
        0.02, "USD", "2024", "list price, Standard, us-central1, cloud.google.com/storage/pricing"
    ),
}


def assume(given: Iterable[str], most_workers: int | None = None) -> dict[str, Assumption]:
    """Return the assumptions, those changed that `given` names as NAME=NUMBER. Raises UserMistake for any other.

    `most_workers` is what Beam's flags allow, where they tell.
    """
    held = dict(ASSUMPTIONS)
    if most_workers:
        held["workers"] = Assumption(most_workers, "workers", "", "given by --max_num_workers")
    for text in given:
        name, equals, number = text.partition("=")
        if name not in held:
            raise UserMistake(f"--assume {text}: no assumption {name!r}; {nearest(name, held)}")
        try:
            value = float(number.replace("_", ""))
        except ValueError:
            value = -1.0
        if not equals or not 0 <= value < float("inf"):
            raise UserMistake(f"--assume {text}: expected {name}=NUMBER, such as {name}={held[name].value:g}")
        if value == 0 and not name.startswith("usd_") and name != "startup_seconds":
            raise UserMistake(f"--assume {text}: expected a number above 0")
        held[name] = Assumption(value, held[name].unit, "", "given by --assume")
    return held
