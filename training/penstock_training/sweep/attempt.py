"""Attempt a trial: train it as `fit` does, in a process of its own, and keep what became of it."""

import posixpath
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock_training.data.dataset import Dataset
from penstock_training.fitting.preemption import Preempted, Preemption
from penstock_training.fitting.step import NotFinite
from penstock_training.recipe import dump_recipe
from penstock_training.storage import is_remote, write_text
from penstock_training.sweep.process import last_words, run_in_process
from penstock_training.sweep.record import Record, Status, read_record
from penstock_training.sweep.trials import Trial

FOLDERS = ("trials", "recipes", "results", "logs")
ENDINGS: dict[int, Status] = {0: "finished", NotFinite.exit_code: "diverged", Preempted.exit_code: "started"}


@dataclass(frozen=True)
class Attempts:
    """Attempt trials in a sweep's folder, on a dataset, with some `flags` of fit."""

    folder: str
    dataset: Dataset
    flags: Sequence[str]

    def record(self, trial: Trial) -> Record:
        """Return what became of a trial so far."""
        return read_record(self._path("results", trial, ".json"))

    def run_folder(self, trial: Trial) -> str:
        """Return the folder of a trial's run."""
        return self._path("trials", trial, "")

    def make(self, trial: Trial, lock: int | None, preemption: Preemption) -> int:
        """Run a trial to its end, or until SIGTERM has made it save, and return its exit code, negative for a signal.

        `lock` is kept as long as it runs.
        """
        recipe, result, before = (
            self._path("recipes", trial, ".yaml"),
            self._path("results", trial, ".json"),
            self.record(trial),
        )
        write_text(recipe, dump_recipe(trial.recipe))
        Record("started", before.attempts + 1).save(result)
        started = time.monotonic()
        arguments = ["fit", recipe, "--dataset", self.dataset.manifest_path, "--workdir", self.run_folder(trial)]
        with self._log(trial) as log:
            code = run_in_process([*arguments, *self.flags], log, lock, preemption)
            said = last_words(code, log) if code else ""
        seconds = round(time.monotonic() - started, 3)
        Record(ENDINGS.get(code, "failed"), before.attempts + 1, seconds, said).save(result)
        return code

    def _path(self, part: str, trial: Trial, ending: str) -> str:
        return posixpath.join(self.folder, part, trial.name(self.dataset.manifest.digest) + ending)

    @contextmanager
    def _log(self, trial: Trial) -> Iterator[Path]:
        """Yield the file for what a trial says; for a bucket it is copied there in the end."""
        path = self._path("logs", trial, ".log")
        if not is_remote(self.folder):
            yield Path(path)
            return
        with tempfile.TemporaryDirectory(prefix="penstock-sweep-") as scratch:
            log = Path(scratch) / posixpath.basename(path)
            yield log
            write_text(path, log.read_text(errors="replace"))
