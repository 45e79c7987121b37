"""Find, for each user, the moment at which the last rows begin.

A row's order among its user's rows is (time, place), place being the keyed hash of its content; identical rows are
at the same moment and travel together.
"""

import numpy as np

from penstock_dataprep.rows.staged import Staged, StagedRows, read_tokens
from penstock_dataprep.spec.spec import LeaveLastSplit
from penstock_dataprep.storage.scratch import Scratch
from penstock_dataprep.vocabularies.token_index import TokenIndex

NEVER = (np.iinfo(np.int64).max, np.iinfo(np.uint64).max)
EVENT = np.dtype([("user", "<u8"), ("time", "<i8"), ("place", "<u8")])
CUTOFF = np.dtype(
    [
        ("user", "<u8"),
        *(
            (f"{cut}_{part}", kind)
            for cut in ("validation", "test")
            for part, kind in (("time", "<i8"), ("place", "<u8"))
        ),
    ]
)


def events(staged: Staged, rows: StagedRows, user: str, time: str, scratch: Scratch) -> np.ndarray:
    """Return the EVENT array of a staged batch: each row's user, time and place; rows without a user left out."""
    _, hashes = read_tokens(staged, user, scratch)
    codes = rows.columns[user].numbers
    known = codes >= 0
    found = np.empty(int(known.sum()), EVENT)
    found["user"] = hashes[codes[known]]
    found["time"] = rows.columns[time].numbers[known]
    found["place"] = rows.place[known]
    return found


def cutoffs(found: np.ndarray, rule: LeaveLastSplit, drop_copies: bool) -> np.ndarray:
    """Return the CUTOFF array, one per user with enough rows to leave some in train, from all these users' events."""
    found = found[np.lexsort((found["place"], found["time"], found["user"]))]
    if drop_copies:
        found = found[np.append(True, found[1:] != found[:-1])[: len(found)]]
    starts = (
        np.flatnonzero(np.append(True, found["user"][1:] != found["user"][:-1])) if len(found) else np.zeros(0, int)
    )
    ends = np.append(starts[1:], len(found))
    kept = np.flatnonzero(ends - starts > rule.n + rule.validation_n)
    # Copies travel together, and must not take a user's every row out of train.
    first, cut_at = found[starts[kept]], found[ends[kept] - rule.n - rule.validation_n]
    kept = kept[(first["time"] != cut_at["time"]) | (first["place"] != cut_at["place"])]
    result = np.empty(len(kept), CUTOFF)
    result["user"] = found["user"][starts[kept]]
    for cut, last in (("validation", rule.n + rule.validation_n), ("test", rule.n)):
        for part in ("time", "place"):
            result[f"{cut}_{part}"] = found[part][ends[kept] - last]
    return result


def save_cutoffs(parts: list[np.ndarray], scratch: Scratch) -> None:
    """Write the cutoffs of all users, and the index from a user's hash to their place, for the splitter."""
    merged = np.concatenate([np.zeros(1, CUTOFF), *parts])
    for cut in ("validation", "test"):
        # Position 0 is for users without a cutoff: all their rows come before it.
        merged[f"{cut}_time"][0], merged[f"{cut}_place"][0] = NEVER
        scratch.write_array(f"cutoffs/{cut}.times", merged[f"{cut}_time"])
        scratch.write_array(f"cutoffs/{cut}.places", merged[f"{cut}_place"])
    TokenIndex(scratch, "cutoffs/index", bits=0).write(0, merged["user"][1:], np.arange(1, len(merged)))
