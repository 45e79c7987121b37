"""Cut tables into slices of rows, so that work on a whole one takes the memory of a slice."""

from collections.abc import Iterator

SLICE_BYTES = 16 << 20
NUMBER_BYTES = 4
# Slices begin at multiples of this many rows, so that a generator of random numbers can start at any of them.
ROWS_AT_ONCE = 1024


def slices(rows: int, width: int, slice_bytes: int = SLICE_BYTES) -> Iterator[tuple[int, int]]:
    """Yield each (first row, rows) of a float32 table [rows, width], in order; none has many more than slice_bytes."""
    size = max(ROWS_AT_ONCE, slice_bytes // (NUMBER_BYTES * width) // ROWS_AT_ONCE * ROWS_AT_ONCE)
    for first in range(0, rows, size):
        yield first, min(size, rows - first)
