"""Count the ids in the rows that a vocabulary was counted over, and hold its counts against them."""

import threading

import numpy as np

from penstock_dataprep.order.split import SPLITS, TRAIN
from penstock_dataprep.records.blocks import Values
from penstock_dataprep.verify.files import expect
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.manifest import Manifest
from penstock_shared.splits import Shard
from penstock_shared.tokens import FIRST_OOV_ID, first_token_id
from penstock_shared.vocabularies import Vocabulary


class Tally:
    """Count, in several threads, how often each id of the vocabularies occurs; 8 bytes for each id.

    Left out is a vocabulary whose counted rows are not all in the dataset: rows were filtered, it is of a column of an
    entity table, or of one of which sequences do not hold every value.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._vocabularies = {
            name: held for name, held in manifest.vocabularies.items() if _is_countable(manifest, held)
        }
        self._occurrences = {name: np.zeros(held.size, np.int64) for name, held in self._vocabularies.items()}
        self._locks = {name: threading.Lock() for name in self._vocabularies}

    def add(self, shard: Shard, feature: Feature, values: Values) -> None:
        """Count the ids that are a feature's values in a shard, where the vocabulary was counted over them."""
        name = feature.vocabulary
        if name is None or (held := self._vocabularies.get(name)) is None or feature.name not in held.shared_by:
            return
        if held.counted_over == "all" or shard.written_for == SPLITS[TRAIN]:
            found = np.bincount(values.numbers.astype(np.int64))
            with self._locks[name]:
                self._occurrences[name][: len(found)] += found

    def verify(self, counts: dict[str, np.ndarray]) -> int:
        """Check the counts in the vocabularies' files and `counted_values`; return how many claims that is.

        Raises DataRefused.
        """
        for name, held in self._vocabularies.items():
            found = self._occurrences[name]
            first = first_token_id(held.oov_buckets)
            differs = np.flatnonzero(found[first:] != counts[name])
            if len(differs):
                at = int(differs[0])
                raise DataRefused(
                    f"vocabulary {name}: the token with id {first + at} has count {counts[name][at]}, but occurs "
                    f"{found[first + at]} times in the rows that were counted"
                )
            expect(f"vocabulary {name}", "counted_values", held.counted_values, int(found[FIRST_OOV_ID:].sum()))
        return 2 * len(self._vocabularies)


def _is_countable(manifest: Manifest, held: Vocabulary) -> bool:
    features = {feature.name: feature for feature in manifest.features}
    is_sequences = any(split.holds_sequences for split in manifest.splits.values())
    return (
        held.encoding == "table"
        and not any(manifest.accounting.filtered.values())
        and all(
            name in features and (features[name].lengths is not None or not is_sequences) for name in held.shared_by
        )
    )
