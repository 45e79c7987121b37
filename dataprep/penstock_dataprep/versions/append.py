"""Join what a build wrote with the version it is appended to: increments, splits and accounts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from penstock_dataprep.order.split import SPLITS, TRAIN
from penstock_dataprep.spec.spec import SplitSpec, TimeSplit
from penstock_dataprep.versions.listing import Listing, measured
from penstock_shared.features import Feature
from penstock_shared.files import File
from penstock_shared.manifest import Accounting, Certificate, Increment, Manifest

TOO_OLD = "older than keep_last"
LATE = "too late for its history"


@dataclass(frozen=True)
class Content:
    """Hold what a manifest says of rows: where they are, as what they are stored, and what became of all."""

    listings: dict[str, Listing]
    features: tuple[Feature, ...]
    certificate: Certificate | None
    accounting: Accounting
    rejects: tuple[File, ...]
    increments: tuple[Increment, ...] = ()


def append(
    own: Content,
    parent: Manifest,
    older: dict[str, Listing],
    version: str,
    created: str,
    rule: SplitSpec,
    keep_last: int | None,
) -> Content:
    """Return the content of a new version: what its build wrote, `own`, after what its parent lists, `older`.

    The increments before the newest `keep_last` are left out. The order of each increment was certified on its own:
    over all of them it is no uniform permutation.
    """
    increment = Increment(
        version=version,
        created=created,
        features=own.features,
        rules={name: listing.rule for name, listing in own.listings.items()},
        certificate=own.certificate,
    )
    increments = (*increments_of(parent), increment)
    increments = increments[-keep_last:] if keep_last else increments
    listings = join_listings(older, own.listings, increments, rule)
    rows = sum(listing.source_rows for listing in listings.values())
    kept = {held.version for held in increments}
    return Content(
        listings=listings,
        features=measured(own.features, listings.values()),
        certificate=None,
        accounting=add_accounts(
            parent.accounting, own.accounting, parent.accounting.written + own.accounting.written - rows
        ),
        rejects=(*(file for file in parent.rejects if file.version in kept), *own.rejects),
        increments=increments,
    )


def increments_of(manifest: Manifest) -> tuple[Increment, ...]:
    """Return the increments of a version; one that was built in one go is its own only increment."""
    if manifest.increments:
        return manifest.increments
    return (
        Increment(
            version=manifest.version,
            created=manifest.created,
            features=manifest.features,
            rules={name: split.rule for name, split in manifest.splits.items()},
            certificate=manifest.shuffle.certificate,
        ),
    )


def join_listings(
    parent: dict[str, Listing], own: dict[str, Listing], increments: Sequence[Increment], rule: SplitSpec
) -> dict[str, Listing]:
    """Return the shards of each split, those of older increments first; of increments left out, none.

    Split by time, the newest rows are tested on and all older versions' rows are trained on, whatever they were
    once for; so no row to train on is from a later version than the rows to test on. By entity, each shard stays in
    its split, for the same entities are in it in all versions.
    """
    place = {increment.version: number for number, increment in enumerate(increments)}
    by_time = isinstance(rule, TimeSplit)
    version = increments[-1].version
    joined: dict[str, Listing] = {}
    for name in (split for split in SPLITS if split in own or (split in parent and not by_time)):
        takes = SPLITS if by_time and name == SPLITS[TRAIN] else () if by_time else (name,)
        sources = [split for split in takes if split in parent]
        older = [listed for split in sources for listed in parent[split].members if listed.shard.version in place]
        older.sort(key=lambda listed: place[listed.shard.version])
        held = own.get(name, Listing("", ()))
        words = held.rule if not by_time else f"{held.rule}, of the rows of version {version}"
        if by_time and name == SPLITS[TRAIN]:
            words += ", and all rows of the versions before it"
        joined[name] = Listing(words, (*older, *held.members))
    return joined


def add_accounts(parent: Accounting, own: Accounting, too_old_rows: int) -> Accounting:
    """Return the account of all rows ever read for a version and those before it."""
    filtered = Counter(parent.filtered) + Counter(own.filtered) + Counter({TOO_OLD: too_old_rows})
    names = sorted({*parent.filtered, *own.filtered, *filtered})
    return Accounting(
        read=parent.read + own.read,
        written=parent.written + own.written - too_old_rows,
        filtered={name: filtered[name] for name in names},
        rejected=dict(sorted((Counter(parent.rejected) + Counter(own.rejected)).items())),
    )
