"""Save training atomically, and restore the newest checkpoint that is whole."""

import posixpath
import re
from collections.abc import Callable

import tensorflow as tf

from penstock_shared.errors import DataRefused
from penstock_training.fitting.seal import Broken, Identity, check_seal, is_sealed, seal, unseal
from penstock_training.fitting.state import State
from penstock_training.storage import UNREACHABLE, list_folder, reason

PREFIX = "state"
NAME = re.compile(r"^step-(\d{10})$")
# What TensorFlow raises when a file of a checkpoint is damaged or of other variables.
READ_ERRORS = (tf.errors.OpError, AssertionError, ValueError, IndexError)


class Checkpoints:
    """Keep the last checkpoints of a run in one folder, a sub-folder for each, named after the steps taken."""

    def __init__(self, folder: str, state: State, keep: int, identity: Identity) -> None:
        """Save and restore the `state` of the run `identity`, and keep the newest `keep`."""
        self.folder, self.state, self.keep, self.identity = folder, state, keep, identity

    def steps(self) -> list[int]:
        """Return the steps of the sealed checkpoints, newest first."""
        return [step for step in self._named() if is_sealed(self.path(step))]

    def path(self, step: int) -> str:
        """Return the folder of the checkpoint after `step` steps."""
        return posixpath.join(self.folder, f"step-{step:010d}")

    def save(self, step: int) -> str:
        """Save the state after `step` steps, drop all but the newest up to it and return the new one's folder."""
        folder = self.path(step)
        unseal(folder)
        self.state.write(posixpath.join(folder, PREFIX))
        # The seal comes last, so that a killed save leaves a folder that is never restored.
        seal(folder, step, self.identity)
        # Newer ones were passed over, unsealed ones were left by a save that was killed.
        kept = [saved for saved in self.steps() if saved <= step][: self.keep]
        for other in self._named():
            if other not in kept:
                unseal(self.path(other))
        return folder

    def restore(self, warn: Callable[[str], None]) -> int:
        """Restore the newest whole checkpoint and return its step, 0 where there is none to restore.

        Raises DataRefused when all of them are damaged, and as `read_newest` does.
        """
        step = self.read_newest(self.state.read, warn)
        if step is None and self.steps():
            raise DataRefused(
                f"{self.folder}: none of its {len(self.steps())} checkpoints can be read; start again in a new workdir"
            )
        return step or 0

    def read_newest(self, read: Callable[[str], None], warn: Callable[[str], None]) -> int | None:
        """Call `read` with the prefix of the newest whole checkpoint and return its step, or None.

        A damaged one is passed over with a warning. Raises DataRefused when one is of another run or format.
        """
        for step in self.steps():
            try:
                check_seal(self.path(step), step, self.identity)
                read(posixpath.join(self.path(step), PREFIX))
            except UNREACHABLE:
                raise
            except (Broken, *READ_ERRORS) as fault:
                warn(f"{self.path(step)}: passed over, cannot be read: {reason(fault)}")
                continue
            return step
        return None

    def _named(self) -> list[int]:
        """Return the steps of all folders of checkpoints, sealed or not, newest first."""
        found = (NAME.match(name) for name in list_folder(self.folder))
        return sorted((int(match[1]) for match in found if match), reverse=True)
