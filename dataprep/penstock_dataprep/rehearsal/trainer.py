"""Run the trainer, which is another program and need not be installed with this one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from penstock_shared.errors import UserMistake

COMMAND = "penstock-train"


def find_trainer() -> str:
    """Return the path of the trainer's command: beside this Python, or else on PATH. Raises UserMistake for none."""
    beside = Path(sys.executable).parent / COMMAND
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(COMMAND)
    if found is None:
        raise UserMistake(
            f"{COMMAND}: not found beside {sys.executable} nor on PATH; a rehearsal trains on the sample: install "
            "penstock-training, or put its command on PATH"
        )
    return found


def run_trainer(command: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the trainer to its end and return what it printed."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "120", **os.environ}
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=False, env=quiet)
