"""Refuse a source that may not become a dataset: empty, or with more broken rows than the spec allows."""

from penstock_dataprep.job import Job
from penstock_dataprep.statistics.facts import Facts
from penstock_shared.errors import DataRefused


def check_facts(facts: Facts, job: Job) -> None:
    """Raise DataRefused with the counts by reason and the first broken rows."""
    source, who = job.spec.source.place, ""
    if job.table is not None:
        source, who = f"tables.{job.table}.{source}", f"tables.{job.table}: "
    if facts.read == 0:
        raise DataRefused(f"{source} hold no rows; expected at least one")
    rejected, allowed = facts.rejected.total(), job.spec.max_reject_fraction
    if rejected <= allowed * facts.read and facts.valid:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in facts.rejected.most_common())
    lines = [
        f"{who}{rejected} of {facts.read} rows are broken ({rejected / facts.read:.2%}), "
        f"max_reject_fraction allows {allowed:.2%}: {reasons}. The first of them:"
    ]
    for file, row, column, reason, value in facts.examples:
        lines.append(
            f"  row {row} of {file}: " + (f"{column}: {_describe(job, column, reason, value)}" if column else value)
        )
    lines.append(
        "Mend the source or the column's rules in the spec, or raise max_reject_fraction; nothing was published."
    )
    raise DataRefused("\n".join(lines))


def check_late(facts: Facts, late: int, job: Job) -> None:
    """Raise DataRefused where more rows come too late for their histories than may be left out."""
    left_out, allowed = facts.rejected.total() + late, job.spec.max_reject_fraction
    if late == 0 or left_out <= allowed * facts.read:
        return
    assert job.spec.history is not None
    assert job.parent is not None
    assert job.parent.tails is not None
    key, kept = job.spec.history.key, job.parent.tails.kept
    raise DataRefused(
        f"{late} of {facts.read} rows come too late for their history: the versions up to "
        f"{job.parent.version} hold so many events of their {key} that are not earlier, that of the latest "
        f"{kept} kept too few are. max_reject_fraction allows to leave out {allowed:.2%} of the rows, broken ones "
        "included. Leave late rows out of the source, raise max_reject_fraction, or build all rows anew, with more "
        "history.kept; nothing was published."
    )


def _describe(job: Job, column: str, reason: str, value: str) -> str:
    target = next(target for target in job.targets if target.name == column)
    expected = {
        "type": f"a {target.taken or target.dtype} value",
        "null": "a value, because null: reject",
        "range": f"a value in the range {list(target.range or ())}",
        "length": f"{target.length} numbers",
    }[reason]
    return f"found {value!r}, expected {expected}"
