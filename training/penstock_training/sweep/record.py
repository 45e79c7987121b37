"""Keep what became of each trial, one small file each, so that a sweep that was killed knows what is done."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from penstock_shared.errors import UserMistake
from penstock_training.fitting.workdir import to_json
from penstock_training.storage import exists, read_text, write_text

Status = Literal["waiting", "started", "finished", "diverged", "failed"]
# Running these again would only end as before.
SETTLED: tuple[Status, ...] = ("finished", "diverged")


@dataclass(frozen=True)
class Record:
    """Say how a trial went: `seconds` of its last process, of `attempts`, and why it failed where it did."""

    status: Status
    attempts: int = 0
    seconds: float = 0.0
    reason: str = ""

    def save(self, path: str) -> None:
        """Write the record whole or not at all."""
        write_text(path, to_json(asdict(self)))


def read_record(path: str) -> Record:
    """Return the record at `path`, that of a trial that waits where there is none."""
    if not exists(path):
        return Record("waiting")
    try:
        return Record(**json.loads(read_text(path)))
    except (ValueError, TypeError) as fault:
        raise UserMistake(f"{path}: is no record of a trial ({fault}); delete it to run the trial again") from None
