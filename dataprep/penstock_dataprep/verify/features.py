"""Check what a manifest says of a feature against the values found."""

from penstock_dataprep.records.blocks import Values
from penstock_dataprep.storage.files import join
from penstock_dataprep.verify.files import expect
from penstock_dataprep.versions.listing import read_sketches
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature, Statistics
from penstock_shared.manifest import Table
from penstock_shared.sketches import FeatureSketch
from penstock_shared.splits import Split
from penstock_shared.tokens import NULL_ID


def verify_ids(feature: Feature, values: Values, size: int, path: str, offset: int) -> None:
    """Check that a block holds ids of a vocabulary of `size` ids only. Raises DataRefused."""
    smallest, largest = int(values.numbers.min(initial=NULL_ID)), int(values.numbers.max(initial=NULL_ID))
    if smallest < NULL_ID or largest >= size:
        raise DataRefused(
            f"{path}: the block at byte {offset}: feature {feature.name} holds the id "
            f"{largest if largest >= size else smallest}, expected {NULL_ID} to {size - 1}, "
            f"the ids of vocabulary {feature.vocabulary}"
        )


def verify_statistics(feature: Feature, found: Statistics, path: str) -> int:
    """Check a feature's statistics against those found, and return how many claims that is. Raises DataRefused."""
    for quantity, claimed in feature.statistics:
        expect(f"{path}: statistics of {feature.name}", quantity, claimed, getattr(found, quantity))
    return len(Statistics.model_fields)


def verify_sketches(held: Split | Table, base: str, found: list[dict[str, FeatureSketch]]) -> int:
    """Check the statistics file of a split or a table against its shards' sketches, if it has one.

    Return how many claims that is. Raises DataRefused.
    """
    if held.statistics is None:
        return 0
    path = join(base, held.statistics.path)
    for position, (claimed, sketches) in enumerate(zip(read_sketches(held, base), found, strict=True)):
        for name, sketch in sketches.items():
            expect(f"{path}: shards.{position}", name, claimed.get(name), sketch)
    return 2 + len(found)
