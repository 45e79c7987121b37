"""Show how far long work has come: bars on a terminal, plain lines in a log."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_FRAMES = 0.25


class Board:
    """Count rows by step; steps of an in-process runner write to it from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.done: dict[str, int] = {}
        self.total: dict[str, int | None] = {}
        self.started: dict[str, float] = {}

    def clear(self) -> None:
        """Forget all steps."""
        with self._lock:
            self.done, self.total, self.started = {}, {}, {}

    def start(self, step: str, total_rows: int | None) -> None:
        """Announce a step and the rows it will go through, if known."""
        with self._lock:
            self.done.setdefault(step, 0)
            self.total[step] = total_rows
            self.started.setdefault(step, time.monotonic())

    def advance(self, step: str, rows: int) -> None:
        """Count rows as done."""
        with self._lock:
            self.done[step] = self.done.get(step, 0) + rows
            self.started.setdefault(step, time.monotonic())

    def lines(self) -> list[str]:
        """Return one plain line per unfinished or freshly finished step."""
        with self._lock:
            return [self._line(step) for step in self.done]

    def _line(self, step: str) -> str:
        done, total = self.done[step], self.total.get(step)
        seconds = max(time.monotonic() - self.started[step], 1e-9)
        rate = done / seconds
        share = f" of {total:,} ({done / total:.0%})" if total else ""
        left = f", {(total - done) / rate:,.0f} s left" if total and done and done < total else ""
        return f"{step}: {done:,} rows{share}, {rate:,.0f} rows/s{left}"


BOARD = Board()


@contextmanager
def shown(board: Board) -> Iterator[None]:
    """Show a board on standard error until the block ends."""
    stop = threading.Event()
    show = _show_bars if sys.stderr.isatty() else _show_lines
    thread = threading.Thread(target=show, args=(board, stop, sys.stderr), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _show_bars(board: Board, stop: threading.Event, log: TextIO) -> None:
    columns = (
        TextColumn("{task.description:>6}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=log), transient=True) as progress:
        tasks = {}
        while not stop.wait(SECONDS_BETWEEN_FRAMES):
            for step, done in list(board.done.items()):
                if step not in tasks:
                    tasks[step] = progress.add_task(step, total=board.total.get(step), rate="")
                rate = done / max(time.monotonic() - board.started[step], 1e-9)
                progress.update(tasks[step], completed=done, total=board.total.get(step), rate=f"{rate:,.0f} rows/s")


def _show_lines(board: Board, stop: threading.Event, log: TextIO) -> None:
    seen: dict[str, str] = {}
    while not stop.wait(SECONDS_BETWEEN_LINES):
        for line in board.lines():
            step, counts = line.split(":", 1)[0], line.split(" rows", 1)[0]
            if seen.get(step) != counts:
                print(line, file=log, flush=True)
                seen[step] = counts
