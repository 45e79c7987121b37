"""Bound a step's time from below by a chip's peaks, and tell what input such a step would take."""

from dataclasses import dataclass

from penstock_training.tpu_check.topology import Chip


@dataclass(frozen=True)
class Roofline:
    """Hold the least seconds of a step: no chip computes or moves faster, and most steps reach neither peak.

    As in Williams, Waterman and Patterson, "Roofline", 2009.
    """

    compute_seconds: float
    memory_seconds: float

    @property
    def seconds(self) -> float:
        """Return the larger of the two."""
        return max(self.compute_seconds, self.memory_seconds)

    def most_rows_per_second(self, batch_rows: int) -> float:
        """Return the rows that steps of this length would take."""
        return batch_rows / self.seconds


def roofline(flops: float, bytes_moved: float, chip: Chip) -> Roofline:
    """Return the bounds of `flops` operations and `bytes_moved` through HBM on one chip."""
    return Roofline(flops / chip.flops_per_second, bytes_moved / chip.hbm_bytes_per_second)
