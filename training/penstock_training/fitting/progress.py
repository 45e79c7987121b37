"""Show how training goes: one live line on a terminal, plain lines in a log."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0


def share(part: float, whole: float) -> float:
    """Return an estimated part's share of the whole, from 0 to 1."""
    return min(1.0, max(0.0, part / whole))


class TrainingProgress:
    """Report steps, rows per second, loss, the share of time spent waiting for input, and the time left."""

    def __init__(self, steps: int, first_step: int, batch_rows: int, speaks: bool = True) -> None:
        """Start the clock at `first_step` of `steps`; of several processes only one speaks."""
        self.steps, self.batch_rows, self.speaks = steps, batch_rows, speaks
        self._console = Console(stderr=True)
        live = speaks and self._console.is_terminal
        self._live = Live(console=self._console, refresh_per_second=4, transient=True) if live else None
        self._first_step, self._started = first_step, time.perf_counter()
        self._last_line = self._started
        self._input_wait_seconds = 0.0

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

    def wait(self, seconds: float) -> None:
        """Report a wait for input outside steps."""
        self._input_wait_seconds += seconds

    def update(self, step: int, loss: float, input_wait_seconds: float) -> None:
        """Report that `step` steps are done; the last ones had a mean loss of `loss` and waited so long for input."""
        now = time.perf_counter()
        seconds, done = now - self._started, step - self._first_step
        self._input_wait_seconds += input_wait_seconds
        left = seconds / done * (self.steps - step) if done else 0.0
        line = (
            f"step {step}/{self.steps}  {done * self.batch_rows / seconds:,.0f} rows/s  loss {loss:.5g}  "
            f"input wait {share(self._input_wait_seconds, seconds):.1%}  {left:,.0f} s left"
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
        elif self.speaks:
            print(line, file=sys.stderr, flush=True)
