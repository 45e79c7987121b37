"""Print results as a table, and write them as JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from penstock_training.evaluation.evaluate import Protocol, Result
from penstock_training.evaluation.metrics import shown


def results_document(results: list[Result], protocol: Protocol, step: int) -> dict[str, Any]:
    """Return the content of metrics.json."""
    return {
        "step": step,
        "protocol": {**asdict(protocol), "stamp": protocol.stamp},
        "results": [result.to_document() for result in results],
    }


def print_results(results: list[Result], protocol: Protocol) -> None:
    """Print a row for each metric and a column for each scorer, with 95 % confidence intervals and the protocol."""
    table = Table(title=f"split {protocol.split}, protocol {protocol.stamp}", title_justify="left")
    table.add_column("metric")
    for result in results:
        table.add_column(result.scorer, justify="right")
    for metric in results[0].metrics:
        table.add_row(metric, *(shown(*result.metrics[metric]) for result in results))
    console = Console()
    console.print(table)
    for name, value in asdict(protocol).items():
        said = ", ".join(f"{count} {what}" for what, count in value.items()) if isinstance(value, dict) else value
        console.print(f"  {name}: {said}", highlight=False, soft_wrap=True, markup=False)
