"""Tell which commit of the tool runs, where that can be known."""

import functools
import os
import subprocess
from pathlib import Path


@functools.cache
def git_commit() -> str | None:
    """Return the commit of the checkout this code is in, or PENSTOCK_GIT_COMMIT (set by an image), or None."""
    if commit := os.environ.get("PENSTOCK_GIT_COMMIT"):
        return commit
    here = str(Path(__file__).resolve().parent)
    try:
        found = subprocess.run(
            ["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    tracked = subprocess.run(
        ["git", "-C", here, "ls-files", "--error-unmatch", "provenance.py"], capture_output=True, timeout=5, check=False
    )
    # An installed package may lie inside somebody else's checkout, whose commit says nothing about this code.
    return found.stdout.strip() or None if found.returncode == 0 and tracked.returncode == 0 else None
