"""Find where the splits are cut."""

from collections.abc import Iterable, Iterator

import numpy as np

from penstock_dataprep.job import Job
from penstock_dataprep.order import leave_last
from penstock_dataprep.order.split import Splitter, make_splitter
from penstock_dataprep.rows.staged import Staged, read_rows
from penstock_dataprep.spec.spec import LeaveLastSplit
from penstock_dataprep.statistics.facts import Facts


def deal_events(job: Job, staged: Staged) -> Iterator[tuple[int, str]]:
    """Yield, by partition of users, where the staged batch's events are."""
    rows = read_rows(staged, job.targets, job.scratch)
    found = leave_last.events(staged, rows, job.spec.role("user") or "", job.spec.role("time") or "", job.scratch)
    # 2^4 partitions: each must be sorted in memory, and 10^9 events of 24 bytes make 1.5 GB a partition.
    partition = found["user"] >> np.uint64(60)
    for number in np.unique(partition):
        name = f"events/{staged.label}.{int(number):02d}"
        job.scratch.write_array(name, found[partition == number].view(np.uint8))
        yield int(number), name


def last_events(job: Job, grouped: tuple[int, Iterable[str]]) -> Iterator[str]:
    """Yield where the cutoffs of one partition of users are."""
    number, names = grouped
    assert isinstance(job.spec.split, LeaveLastSplit)
    found = [job.scratch.map_array(name, "u1").view(leave_last.EVENT) for name in names]
    name = f"cutoffs/part-{number:02d}"
    cut_off = leave_last.cutoffs(np.concatenate(found), job.spec.split, job.spec.duplicates == "drop")
    job.scratch.write_array(name, cut_off.view(np.uint8))
    yield name


def save_cutoffs(job: Job, _: None, names: list[str]) -> Iterator[int]:
    """Write the cutoffs of all users for the splitter."""
    parts = [job.scratch.map_array(name, "u1").view(leave_last.CUTOFF) for name in sorted(names)]
    leave_last.save_cutoffs(parts, job.scratch)
    yield len(parts)


def cut(job: Job, _: None, facts: Facts, after_cutoffs: list[int]) -> Iterator[Splitter]:
    """Yield the splitter."""
    yield make_splitter(job.spec, facts.times)
