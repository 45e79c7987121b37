"""Read and write byte strings of different sizes at many places of an array, those of one size at a time."""

import itertools
from collections.abc import Iterator

import numpy as np


def groups(keys: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (key, indices that have it) for each distinct key above 0."""
    order = np.argsort(keys.astype(np.uint16) if keys.max(initial=0) < 2**16 else keys, kind="stable")
    ranked = keys[order]
    bounds = [0, *(np.flatnonzero(np.diff(ranked)) + 1).tolist(), len(keys)]
    for start, stop in itertools.pairwise(bounds):
        if start < stop and ranked[start]:
            yield int(ranked[start]), order[start:stop]


def put(content: np.ndarray, places: np.ndarray, pieces: bytes | np.ndarray) -> None:
    """Write a piece at each place: the same bytes everywhere, or [n, size], one row to a place."""
    piece = np.frombuffer(pieces, np.uint8) if isinstance(pieces, bytes) else pieces
    if len(places):
        np.lib.stride_tricks.sliding_window_view(content, piece.shape[-1], writeable=True)[places] = piece


def take(content: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """Return the `size` bytes from each start, as [n, size]."""
    return np.lib.stride_tricks.sliding_window_view(content, size)[starts]
