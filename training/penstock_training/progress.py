"""Show how training goes: one live line on a terminal, plain lines in a log."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Report steps, rows per second, loss and the time left."""

    def __init__(self, steps: int, first_step: int, batch_rows: int) -> None:
        """Start the clock at `first_step` of `steps`."""
        self.steps, self.batch_rows = steps, batch_rows
        self._console = Console(stderr=True)
        self._live = (
            Live(console=self._console, refresh_per_second=4, transient=True) if self._console.is_terminal else None
        )
        self._first_step, self._started = first_step, time.perf_counter()
        self._last_line = self._started

    def __enter__(self) -> "TrainingProgress":
        """Take hold of the terminal's last line."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the terminal."""
        if self._live:
            self._live.stop()

    def update(self, step: int, loss: float) -> None:
        """Report that `step` steps are done, the last ones with a mean loss of `loss`."""
        now = time.perf_counter()
        seconds, done = now - self._started, step - self._first_step
        left = seconds / done * (self.steps - step) if done else 0.0
        line = (
            f"step {step}/{self.steps}  {done * self.batch_rows / seconds:,.0f} rows/s  loss {loss:.5g}  "
            f"{left:,.0f} s left"
        )
        if self._live:
            self._live.update(Text(line))
        elif now - self._last_line >= SECONDS_BETWEEN_LINES or step == self.steps:
            self._last_line = now
            self.say(line)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._live:
            self._console.print(line, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)
