"""Define the elements that carry rows between fused steps, and their Beam coder.

A fused step hands its batch to the next as it is. Where a runner does cut between two steps, the batch travels as
Arrow IPC bytes; and a runner that only wants an element's size, as all do for their metrics, must not serialise it.
"""

import pickle
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa

from penstock_dataprep.sources import Piece
from penstock_dataprep.statistics.facts import Facts


@dataclass(frozen=True)
class ReadBatch:
    """Hold one batch as read; `label` names it in files and is the same in every attempt."""

    label: str
    piece: Piece

    @property
    def nbytes(self) -> int:
        """Return the size of the rows in memory."""
        return self.piece.nbytes


@dataclass(frozen=True)
class ValidBatch:
    """Hold one batch of valid rows and what was measured when it was validated."""

    label: str
    batch: pa.RecordBatch
    facts: Facts

    @property
    def nbytes(self) -> int:
        """Return the size of the rows in memory."""
        size: int = self.batch.nbytes
        return size


class BatchCoder(beam.coders.Coder):
    """Encode an element with its batch as Arrow IPC, which is how pyarrow pickles it; only one job's workers see it."""

    def encode(self, value: ReadBatch | ValidBatch) -> bytes:
        """Return the element as bytes."""
        return pickle.dumps(value, protocol=5)

    def decode(self, encoded: bytes) -> ReadBatch | ValidBatch:
        """Return the element of some bytes."""
        element: ReadBatch | ValidBatch = pickle.loads(encoded)
        return element

    def estimate_size(self, value: ReadBatch | ValidBatch) -> int:
        """Return the size of the rows in memory, without encoding them."""
        return value.nbytes

    def is_deterministic(self) -> bool:
        """Return False: an element is never a key."""
        return False


for element_type in (ReadBatch, ValidBatch):
    beam.coders.registry.register_coder(element_type, BatchCoder)
