"""Save training atomically, and restore the newest checkpoint that is whole."""

import posixpath
import re
from collections.abc import Callable

import tensorflow as tf

from penstock_shared.errors import DataRefused
from penstock_training.storage import UNREACHABLE, exists, list_folder, remove_folder, write_text

PREFIX = "state"
COMPLETE = "complete"
NAME = re.compile(r"^step-(\d{10})$")


class Checkpoints:
    """Keep the last checkpoints of a run in one folder, a sub-folder for each, named after the steps taken."""

    def __init__(self, folder: str, checkpoint: tf.train.Checkpoint, keep: int) -> None:
        """Save and restore `checkpoint`, and keep the newest `keep`."""
        self.folder, self.checkpoint, self.keep = folder, checkpoint, keep

    def steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, newest first."""
        names = [match for name in list_folder(self.folder) if (match := NAME.match(name))]
        complete = [match for match in names if exists(posixpath.join(self.folder, match[0], COMPLETE))]
        return sorted((int(match[1]) for match in complete), reverse=True)

    def path(self, step: int) -> str:
        """Return the folder of the checkpoint after `step` steps."""
        return posixpath.join(self.folder, f"step-{step:010d}")

    def save(self, step: int) -> str:
        """Save the state after `step` steps, drop old checkpoints and return the new one's folder."""
        folder = self.path(step)
        remove_folder(folder, COMPLETE)
        self.checkpoint.write(posixpath.join(folder, PREFIX))
        # The marker comes last, so that a killed save leaves a folder that is never restored.
        write_text(posixpath.join(folder, COMPLETE), f"{step}\n")
        for old in self.steps()[self.keep :]:
            remove_folder(self.path(old), COMPLETE)
        return folder

    def restore(self, warn: Callable[[str], None]) -> int:
        """Restore the newest whole checkpoint and return its step, 0 where there is none to restore.

        A checkpoint that fails to read is passed over with a warning. Raises DataRefused when all of them fail.
        """
        steps = self.steps()
        for step in steps:
            try:
                self.checkpoint.read(posixpath.join(self.path(step), PREFIX)).assert_consumed()
            except UNREACHABLE:
                raise
            except (tf.errors.OpError, AssertionError, ValueError) as fault:
                warn(f"{self.path(step)}: passed over, cannot be read: {str(fault).splitlines()[0]}")
                continue
            return step
        if steps:
            raise DataRefused(
                f"{self.folder}: none of its {len(steps)} checkpoints can be read; start again in a new workdir"
            )
        return 0
