"""Measure decoded features again, to hold them against what a manifest claims."""

from collections import Counter

import numpy as np

from penstock_dataprep.blocks import Values
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.manifest import Vocabulary
from penstock_shared.tokens import FIRST_OOV_ID, NULL_ID, first_token_id


class Measured:
    """Add up what one feature's statistics claim, over all blocks of a shard."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.total = 0.0
        self.smallest: float | None = None
        self.largest: float | None = None
        self.longest = 0
        self.numbers: list[np.ndarray] = []

    def add(self, feature: Feature, vocabulary: Vocabulary | None, rows: int, values: Values, where: str) -> None:
        """Measure one block's column. Raises DataRefused for an id outside the vocabulary."""
        numbers = values.numbers if values.present is None else values.numbers[values.present]
        self.numbers.append(values.numbers)
        nulls = 0 if values.present is None else rows - len(numbers)
        self.longest = max(self.longest, int(values.lengths.max(initial=0)) if values.lengths is not None else 0)
        if vocabulary is not None:
            largest = int(numbers.max(initial=0))
            if largest >= vocabulary.size or (len(numbers) and int(numbers.min()) < NULL_ID):
                raise DataRefused(
                    f"{where}: feature {feature.name} holds the id {largest}, "
                    f"expected {NULL_ID} to {vocabulary.size - 1}, the ids of vocabulary {feature.vocabulary}"
                )
            nulls = int((numbers == NULL_ID).sum())
            self.sums["oov"] += int(
                ((numbers >= FIRST_OOV_ID) & (numbers < first_token_id(vocabulary.oov_buckets))).sum()
            )
        elif len(numbers):
            self.total += float(numbers.sum(dtype=np.float64))
            # An int64 stays an int: a float would round it.
            low, high = numbers.min().item(), numbers.max().item()
            self.smallest = low if self.smallest is None else min(low, self.smallest)
            self.largest = high if self.largest is None else max(high, self.largest)
        self.sums.update(rows=rows, nulls=nulls, values=len(numbers) - (nulls if vocabulary is not None else 0))
