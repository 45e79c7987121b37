"""Run builds in processes that die where a test wants it or are out of room, forked from one that imported everything.

A process kills itself by what it has come to, not by the clock: who watches from outside may look too late.
"""

import functools
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from logs import Built, build
from patience import PATIENCE_SECONDS

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["penstock_dataprep.build"])
# What a process does to files that others could see. Python announces it before it is done.
FILE_EVENTS = ("open", "os.mkdir", "os.remove", "os.rename")


@dataclass(frozen=True)
class Request:
    """Say what to build and where."""

    document: dict[str, Any]
    root: Path
    parent: Built | None = None

    def start(self, prepare: Callable[[], object] | None = None) -> BaseProcess:
        """Start to build in a process of its own, which calls `prepare` first."""
        process = FORKING.Process(target=_build, args=(self, prepare))
        process.start()
        return process

    def run(self, prepare: Callable[[], object] | None = None) -> int:
        """Build, and return the exit code of the process: 0, 1 for a failure."""
        return wait(self.start(prepare))

    def run_until(self, event: int) -> int:
        """Build, and be killed before the file event of that number, if there are as many; return the exit code."""
        return self.run(functools.partial(_die_at_event, str(self.root), event))

    def run_until_there(self, pattern: str, files: int = 1) -> int:
        """Build, and be killed as soon as so many files under the root match a pattern; return the exit code."""
        return self.run(functools.partial(_die_when_there, self.root, pattern, files))

    def file_events(self, log: Path) -> int:
        """Build, and return how many file events there were; `log` is a file for them."""
        assert self.run(functools.partial(_log_events, str(self.root), str(log))) == 0
        return log.stat().st_size


def wait(process: BaseProcess) -> int:
    """Return the exit code of a process once it ended."""
    process.join(PATIENCE_SECONDS)
    assert process.exitcode is not None, "the build hangs"
    return process.exitcode


def files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file under a folder, but of those that tell the time of the build."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("manifest.json", "card.html")
    }


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at_events(root: str, act: Callable[[int], object]) -> None:
    """Call `act` with the number, from 1, of each event of a file under `root`, in whatever thread it happens."""
    numbers = itertools.count(1)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS and str(arguments[0]).startswith(root):
            act(next(numbers))

    sys.addaudithook(watch)


def _die_at_event(root: str, event: int) -> None:
    _at_events(root, lambda number: _die() if number == event else None)


def _die_when_there(root: Path, pattern: str, files: int) -> None:
    _at_events(str(root), lambda _: _die() if len(list(root.glob(pattern))) >= files else None)


def _log_events(root: str, log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _at_events(root, lambda _: os.write(file, b"."))


def _build(request: Request, prepare: Callable[[], object] | None) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stdout.fileno())
    os.dup2(quiet, sys.stderr.fileno())
    if prepare is not None:
        prepare()
    build(request.document, request.root, append_to=request.parent)
