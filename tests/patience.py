"""Wait for what happens in other threads and processes, for as long as a slow and busy machine may take."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

# Less than the timeout of pytest, whose stack dump says less of what was waited for.
PATIENCE_SECONDS = 600


def wait_until(is_so: Callable[[], object], *working: subprocess.Popen[Any]) -> None:
    """Wait until something is so, which `working` processes are to bring about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        for process in working:
            if process.poll() is not None and not is_so():
                said = process.communicate()
                raise AssertionError(f"a process ended too early, with exit code {process.returncode}: {said}")
        assert time.monotonic() < deadline, f"not so within {PATIENCE_SECONDS} s"
        time.sleep(0.01)
