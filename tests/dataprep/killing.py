"""Run builds in processes that can be killed or be out of room, forked from one that has imported everything."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from logs import Built, build

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["penstock_dataprep.build"])
DEADLINE_SECONDS = 120


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

    def run_for(self, seconds: float) -> int:
        """Build, and kill the process unless it ends within some seconds; return its exit code."""
        process = self.start()
        process.join(seconds)
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        return wait(process)


def wait(process: BaseProcess) -> int:
    """Return the exit code of a process once it ended."""
    process.join(DEADLINE_SECONDS)
    assert process.exitcode is not None, "the build hangs"
    return process.exitcode


def files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file under a folder, but of those that tell the time of the build."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("manifest.json", "card.html")
    }


def timed(request: Request) -> float:
    """Build, and return how many seconds it took, once all is imported."""
    ready = FORKING.Process(target=int)
    ready.start()
    wait(ready)
    started = time.monotonic()
    assert request.run() == 0
    return time.monotonic() - started


def _build(request: Request, prepare: Callable[[], object] | None) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stdout.fileno())
    os.dup2(quiet, sys.stderr.fileno())
    if prepare is not None:
        prepare()
    build(request.document, request.root, append_to=request.parent)
