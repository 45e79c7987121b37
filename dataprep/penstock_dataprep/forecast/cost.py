"""Work out how long a build takes on Dataflow and what it costs, every step of the arithmetic in a line."""

import math
from collections.abc import Mapping

from penstock_dataprep.forecast.line import Line
from penstock_dataprep.forecast.prices import Assumption

SECONDS_PER_HOUR = 3600
LEAST_SECONDS_PER_WORKER = 60  # a service that scales by itself starts no worker for less
GB, TIB = 10**9, 2**40


def cost(
    rows: float,
    values_per_row: float,
    bytes_written: float,
    bytes_read: float,
    bytes_queried: float,
    is_bigquery: bool,
    assumed: Mapping[str, Assumption],
) -> list[Line]:
    """Return duration and cost; `values_per_row` counts the values of lists, `bytes_read` are those of the source."""
    held = {name: one.value for name, one in assumed.items()}
    wider = max(1.0, values_per_row / held["columns_measured"])
    rate = held["rows_per_second_per_vcpu"] * held["cloud_efficiency"] / wider
    work = rows / rate
    useful = math.ceil(work / (held["vcpus_per_worker"] * LEAST_SECONDS_PER_WORKER))
    workers = max(1.0, min(held["workers"], useful))
    vcpus = workers * held["vcpus_per_worker"]
    seconds = held["startup_seconds"] + work / vcpus
    worker_hours = workers * seconds / SECONDS_PER_HOUR
    shuffled = bytes_written * held["bytes_shuffled_per_byte_written"]
    cpu = worker_hours * held["vcpus_per_worker"] * held["usd_per_vcpu_hour"]
    memory = worker_hours * held["memory_gb_per_worker"] * held["usd_per_gb_memory_hour"]
    shuffle = shuffled / GB * held["usd_per_gb_shuffled"]
    lines = [
        Line(
            "rate",
            rate,
            "rows/s per vCPU",
            f"rows_per_second_per_vcpu {held['rows_per_second_per_vcpu']:,.0f} x cloud_efficiency "
            f"{held['cloud_efficiency']:g} / {wider:.2f} (the larger of 1 and {values_per_row:.1f} values a row / "
            f"columns_measured {held['columns_measured']:g})",
        ),
        Line("work", work / SECONDS_PER_HOUR, "vCPU hours", f"{rows:,.0f} rows / {rate:,.0f} rows/s / 3600"),
        Line(
            "workers",
            workers,
            "workers",
            f"workers {held['workers']:g}, but no more than have {LEAST_SECONDS_PER_WORKER} s of work each",
        ),
        Line(
            "duration",
            seconds / 60,
            "minutes",
            f"startup_seconds {held['startup_seconds']:g} + {work:,.0f} vCPU s / ({workers:g} workers x "
            f"{held['vcpus_per_worker']:g} vCPU)",
        ),
        Line("machine time", worker_hours, "worker hours", f"{workers:g} workers x {seconds:,.0f} s / 3600"),
        Line(
            "cost of vCPU",
            cpu,
            "USD",
            f"{worker_hours:,.2f} worker hours x {held['vcpus_per_worker']:g} vCPU x "
            f"usd_per_vcpu_hour {held['usd_per_vcpu_hour']:g}",
        ),
        Line(
            "cost of memory",
            memory,
            "USD",
            f"{worker_hours:,.2f} worker hours x {held['memory_gb_per_worker']:g} GB x "
            f"usd_per_gb_memory_hour {held['usd_per_gb_memory_hour']:g}",
        ),
        Line(
            "cost of shuffle",
            shuffle,
            "USD",
            f"{bytes_written / GB:,.3f} GB written x bytes_shuffled_per_byte_written "
            f"{held['bytes_shuffled_per_byte_written']:g} x usd_per_gb_shuffled {held['usd_per_gb_shuffled']:g}",
        ),
    ]
    if is_bigquery:
        lines += [
            Line(
                f"cost of {what}",
                size / TIB * held[price],
                "USD",
                f"{size:,.0f} bytes / 2^40 x {price} {held[price]:g}",
            )
            for what, size, price in (
                ("the query", bytes_queried, "usd_per_tib_queried"),
                ("reading BigQuery", bytes_read, "usd_per_tib_read"),
            )
        ]
    parts = [line for line in lines if line.unit == "USD"]
    total = sum(line.value for line in parts)
    stored = bytes_written / GB * held["usd_per_gb_month_stored"]
    return [
        *lines,
        Line("cost of the build", total, "USD", " + ".join(f"{line.value:,.2f}" for line in parts)),
        Line(
            "cost of keeping it",
            stored,
            "USD a month",
            f"{bytes_written / GB:,.3f} GB x usd_per_gb_month_stored {held['usd_per_gb_month_stored']:g}",
        ),
    ]
