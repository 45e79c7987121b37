"""Describe the events that a version keeps for the histories of rows appended to it."""

from collections.abc import Iterable

from penstock_dataprep.design import Design
from penstock_dataprep.histories.tails import tail_column
from penstock_dataprep.job import Job
from penstock_dataprep.spec.lists import HISTORY_PREFIX
from penstock_dataprep.statistics.facts import Facts
from penstock_shared.layout import WIDTH_BYTES, Column, narrowest_integer, narrowest_length
from penstock_shared.tails import TailFile, Tails


def describe_tails(job: Job, design: Design, facts: Facts, files: Iterable[TailFile] = ()) -> Tails | None:
    """Return what a build keeps in `files`, None for one that keeps nothing.

    Values are stored as in the histories, which hold those of older versions too.
    """
    rules, parent, held = job.spec.history, job.parent_tails, sorted(files, key=lambda file: file.partition)
    if rules is None or rules.tail_length == 0:
        return None
    lengths, stored = narrowest_length(rules.tail_length), {column.name: column.storage for column in design.columns}
    tokens = job.token_vocabularies()
    dtypes = {target.name: target.dtype for target in job.targets}
    columns = tuple(
        tail_column(
            Column(name=name, storage=stored[HISTORY_PREFIX + name], lengths=lengths),
            dtypes[name] if name in tokens else None,
        )
        for name in rules.columns
    )
    times = facts.features[job.spec.role("time") or ""]
    own = narrowest_integer(int(times.smallest or 0), int(times.largest or 0))
    return Tails(
        key=rules.key,
        kept=rules.tail_length,
        time_storage=max(own, parent.time_storage if parent else own, key=lambda storage: WIDTH_BYTES[storage]),
        lengths=lengths,
        columns=columns,
        partition_bits=job.key_partition_bits(facts.valid),
        keys=sum(file.keys for file in held),
        events=sum(file.events for file in held),
        seen=(parent.seen if parent else 0) + facts.valid - facts.copies,
        files=tuple(held),
    )
