"""Check that the rows of a split by time lie where its rules say: none to train on is as late as one to test on."""

import itertools
from collections.abc import Iterable

from penstock_dataprep.order.split import SPLITS, interval
from penstock_dataprep.verify.shard import Checked
from penstock_dataprep.versions.append import increments_of
from penstock_shared.errors import DataRefused
from penstock_shared.manifest import Manifest


def verify_times(manifest: Manifest, found: Iterable[Checked], path: str) -> int:
    """Check every shard's times against the rule of the split that it was written for; return how many claims that is.

    Sequences may leave out the time, and other splits have other rules: then there is none. Raises DataRefused.
    """
    time = manifest.feature("time")
    if time is None or time.lengths is not None:
        return 0
    rules: dict[tuple[str, str], tuple[str, tuple[float, float] | None]] = {
        (increment.version, split): (increment.rules[split], interval(increment.rules[split], time.name))
        for increment in increments_of(manifest)
        for split in SPLITS
        if split in increment.rules
    }
    claims = _verify_order({place: held for place, (_, held) in rules.items() if held is not None}, path)
    for checked in found:
        shard, held = checked.shard, checked.sketches[time.name]
        rule, allowed = rules.get((shard.version, shard.written_for), ("", None))
        if allowed is not None and held.smallest is not None and held.largest is not None:
            if not (allowed[0] <= held.smallest and held.largest < allowed[1]):
                raise DataRefused(
                    f"{path}: {shard.path} has {time.name} from {held.smallest} to {held.largest}, but was written for "
                    f"{shard.written_for}, which the manifest says has {rule}"
                )
            claims += 1
    return claims


def _verify_order(intervals: dict[tuple[str, str], tuple[float, float]], path: str) -> int:
    claims = 0
    for ((version, split), before), ((other, later), after) in itertools.pairwise(intervals.items()):
        if version == other:
            if before[1] != after[0]:
                raise DataRefused(
                    f"{path}: rules of version {version}: {split} ends at {before[1]} and {later} begins at {after[0]}"
                )
            claims += 1
    return claims
