"""Compare runs: their metrics side by side, and what differs in their recipes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from penstock_shared.errors import UserMistake
from penstock_training.evaluation.metrics import shown
from penstock_training.fitting.workdir import Workdir
from penstock_training.recipe.compose import flatten

ABSENT = "-"


@dataclass(frozen=True)
class Compared:
    """Hold a run's folder, its metrics.json and its recipe by dotted key."""

    folder: str
    metrics: dict[str, Any]
    recipe: dict[str, Any]

    @property
    def protocol(self) -> dict[str, Any]:
        """Return the protocol it was evaluated by."""
        protocol: dict[str, Any] = self.metrics["protocol"]
        return protocol

    def scorers(self) -> dict[str, dict[str, Any]]:
        """Return the metrics of the model and of the baselines, by name."""
        return {result["scorer"]: result["metrics"] for result in self.metrics["results"]}


def compare(folders: Sequence[str], split: str | None, as_json: bool) -> None:
    """Print the metrics of runs on `split`, that of their recipes where it is None, and what differs in the recipes.

    Raises UserMistake where a folder is no evaluated run, or where not all were evaluated by one protocol.
    """
    runs = [_load(folder, split) for folder in folders]
    for other in runs[1:]:
        if other.protocol["stamp"] != runs[0].protocol["stamp"]:
            raise UserMistake(_unlike(runs[0], other))
    differing = differences([run.recipe for run in runs])
    if as_json:
        print(json.dumps(_document(runs, differing), indent=1))
        return
    console = Console()
    if not console.is_terminal:
        # A file has no width to fit into.
        console = Console(width=100_000)
    console.print(_metrics_table(runs))
    if differing:
        console.print(_table("what differs in the recipes", "key", runs, differing))
    else:
        console.print("the recipes are the same")


def differences(documents: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the values that flat documents have of each key in which they differ, ABSENT where one lacks it."""
    keys = list(dict.fromkeys(key for document in documents for key in document))
    values = {key: [document.get(key, ABSENT) for document in documents] for key in keys}
    return {key: held for key, held in values.items() if any(value != held[0] for value in held)}


def _load(folder: str, split: str | None) -> Compared:
    workdir = Workdir(folder)
    recipe = workdir.recipe()
    return Compared(folder, workdir.metrics(split), flatten(recipe.model_dump(mode="json")))


def _unlike(one: Compared, other: Compared) -> str:
    found = differences([flatten(one.protocol), flatten(other.protocol)])
    found.pop("stamp")
    lines = [f"  {key}: {first!r} and {second!r}" for key, (first, second) in found.items()]
    return "\n".join(
        [f"{one.folder} and {other.folder} were evaluated by different protocols and cannot be compared:", *lines]
    )


def _metrics_table(runs: Sequence[Compared]) -> Table:
    baselines = {name: found for name, found in runs[0].scorers().items() if name != "model"}
    columns = [*(run.scorers()["model"] for run in runs), *baselines.values()]
    protocol = runs[0].protocol
    table = Table(title=f"split {protocol['split']}, protocol {protocol['stamp']}", title_justify="left")
    table.add_column("metric")
    for name in (*(run.folder for run in runs), *baselines):
        table.add_column(name, justify="right", overflow="fold")
    for metric in columns[0]:
        table.add_row(metric, *(shown(**column[metric]) for column in columns))
    return table


def _table(title: str, corner: str, runs: Sequence[Compared], rows: dict[str, list[Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(corner)
    for run in runs:
        table.add_column(run.folder, justify="right", overflow="fold")
    for name, values in rows.items():
        table.add_row(name, *map(str, values))
    return table


def _document(runs: Sequence[Compared], differing: dict[str, list[Any]]) -> dict[str, Any]:
    return {
        "protocol": runs[0].protocol,
        "runs": [
            {
                "run": run.folder,
                "step": run.metrics["step"],
                "results": run.metrics["results"],
                "recipe": {key: values[place] for key, values in differing.items()},
            }
            for place, run in enumerate(runs)
        ],
    }
