"""Run a command of penstock-train in a process of its own.

Each trial has one, since seeds and the determinism of ops are set once for a process, the memory of an accelerator is
given back at its end alone, and one that is killed for want of memory takes no other along. TensorFlow's import, some
seconds, is the price.
"""

import subprocess
import sys
from pathlib import Path

from penstock_training.fitting.preemption import Preempted, Preemption

LINES_SHOWN = 6
PREFIX = "penstock-train: "


def run_in_process(arguments: list[str], log: Path, lock: int | None, preemption: Preemption) -> int:
    """Run the command to its end and return its exit code, negative for a signal.

    What it says is added to `log`. SIGTERM, which `preemption` watches, is passed on to it, and it may take its time
    to save. It inherits `lock`, the descriptor of a lock's file, so that nobody else takes the lock while it lives.
    """
    line = [sys.executable, "-m", "penstock_training.sweep.child", *arguments]
    kept = () if lock is None else (lock,)
    with (
        log.open("ab") as said,
        subprocess.Popen(line, stdin=subprocess.PIPE, stdout=said, stderr=said, pass_fds=kept) as process,
    ):
        try:
            with preemption.at_once():
                return process.wait()
        except BaseException as stop:
            process.terminate()
            code = process.wait()
            if isinstance(stop, Preempted):
                return code
            raise


def last_words(code: int, log: Path) -> str:
    """Return why a command ended badly, by its exit code and what it said last."""
    if code < 0:
        return f"killed by signal {-code}"
    lines = log.read_text(errors="replace").strip().splitlines()
    own = [place for place, line in enumerate(lines) if line.startswith(PREFIX)]
    # Of a traceback the last line says what it was.
    shown = lines[own[-1] :][:LINES_SHOWN] if own else lines[-1:]
    return "\n".join(shown).removeprefix(PREFIX) or f"ended with exit code {code}"
