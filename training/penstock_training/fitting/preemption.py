"""Answer SIGTERM, which announces that the machine will be taken away, between two calls into the graph."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from penstock_shared.errors import PenstockError


class Preempted(PenstockError):
    """Say that training stopped because it was told to; the exit code is the one that shells give to SIGTERM."""

    exit_code = 128 + signal.SIGTERM


class Preemption:
    """Note SIGTERM while training steps run, or raise Preempted at once where that is allowed."""

    def __init__(self) -> None:
        """Start with nothing asked."""
        self.asked = False
        self._at_once = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take over SIGTERM; only the main thread of a process can, in others this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise Preempted from within the block, which must leave nothing half done, as soon as SIGTERM arrives."""
        if self.asked:
            raise Preempted
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if self._at_once:
            self._at_once = False
            raise Preempted
