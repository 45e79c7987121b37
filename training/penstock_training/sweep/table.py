"""Put the trials of a sweep in order, best first, for people and for machines."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from penstock_shared.errors import UserMistake
from penstock_training.evaluation.metrics import LOWER_IS_BETTER, shown
from penstock_training.sweep.record import Record
from penstock_training.sweep.schema import Judge
from penstock_training.sweep.trials import Trial


@dataclass(frozen=True)
class Row:
    """Hold what became of a trial: its run's folder and, where it finished, its metrics.json."""

    trial: Trial
    folder: str
    record: Record
    metrics: dict[str, Any] | None

    def metric(self, name: str) -> tuple[float, float | None]:
        """Return a metric of the model and the half width of its 95 % confidence interval, where it has one."""
        return self.of_all(name)["model"]

    def of_all(self, name: str) -> dict[str, tuple[float, float | None]]:
        """Return a metric of the model and of the baselines, by scorer."""
        if self.metrics is None:
            raise ValueError(f"trial {self.trial.number} has no metrics")
        found = {result["scorer"]: result["metrics"][name] for result in self.metrics["results"]}
        return {scorer: (metric["value"], metric["error"]) for scorer, metric in found.items()}


def ranked(rows: Sequence[Row], judge: Judge) -> list[Row]:
    """Return the rows, best first, those that did not finish last; raises UserMistake where protocols differ."""
    finished = [row for row in rows if row.metrics is not None]
    stamps = {row.metrics["protocol"]["stamp"]: row for row in finished if row.metrics is not None}
    if len(stamps) > 1:
        found = ", ".join(f"{row.folder} {stamp}" for stamp, row in stamps.items())
        raise UserMistake(f"trials were evaluated by different protocols and cannot be compared: {found}")
    sign = 1 if judge.metric in LOWER_IS_BETTER else -1
    best_first = sorted(finished, key=lambda row: (sign * row.metric(judge.metric)[0], row.trial.number))
    return [*best_first, *(row for row in rows if row.metrics is None)]


def sweep_document(rows: Sequence[Row], judge: Judge) -> dict[str, Any]:
    """Return the content of sweep.json: trials in the order of `rows`."""
    protocols = [row.metrics["protocol"] for row in rows if row.metrics is not None]
    return {
        "judge": judge.model_dump(mode="json"),
        "protocol": protocols[0] if protocols else None,
        "trials": [
            {
                "trial": row.trial.number,
                "values": row.trial.values,
                **asdict(row.record),
                "run": row.folder,
                "results": None if row.metrics is None else row.metrics["results"],
            }
            for row in rows
        ],
    }


def print_table(rows: Sequence[Row], judge: Judge) -> None:
    """Print a line for each trial: what it tried, its metric with a 95 % confidence interval, time and run folder."""
    keys = list(rows[0].trial.values)
    console = Console()
    if not console.is_terminal:
        # A file has no width to fit into.
        console = Console(width=100_000)
    table = Table(title=f"{judge.metric} on split {judge.split}", title_justify="left")
    for key in ("trial", *keys, judge.metric, "seconds", "run"):
        table.add_column(key, overflow="fold", justify="left" if key == "run" else "right")
    for row in rows:
        found = row.record.status if row.metrics is None else shown(*row.metric(judge.metric))
        seconds = f"{row.record.seconds:.0f}" + (f", try {row.record.attempts}" if row.record.attempts > 1 else "")
        tried = [str(row.trial.values[key]) for key in keys]
        table.add_row(str(row.trial.number), *tried, found, seconds, row.folder)
    console.print(table)
    if rows[0].metrics is not None:
        baselines = {name: metric for name, metric in rows[0].of_all(judge.metric).items() if name != "model"}
        to_beat = ", ".join(f"{name} {shown(*metric)}" for name, metric in baselines.items())
        console.print(f"to beat: {to_beat}", highlight=False, soft_wrap=True)
    for row in rows:
        if row.record.reason and row.metrics is None:
            console.print(
                f"trial {row.trial.number} {row.record.status}: {row.record.reason}", soft_wrap=True, markup=False
            )
