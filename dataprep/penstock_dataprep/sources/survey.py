"""Say what can be known of a source's size before it is read, and in which order to look at parts of it."""

from typing import NamedTuple


class Survey(NamedTuple):
    """Hold the size of a source, and where each number is from.

    `rows` is None where nothing tells it, and otherwise exact, an estimate or an upper bound as `rows_from` says.
    `bytes_scanned` are what reading the columns taken costs, `bytes_queried` what the query before it does.
    `nullable` are the columns taken that may hold nulls by their type. `locations` are (what, where it lies) of the
    parts of the source that have a place in the cloud.
    """

    rows: int | None
    rows_from: str
    bytes_scanned: int
    bytes_from: str
    nullable: frozenset[str]
    bytes_queried: int = 0
    locations: tuple[tuple[str, str], ...] = ()


def spread(count: int) -> list[int]:
    """Return 0 to count - 1 in an order of which every beginning lies evenly over the whole (van der Corput, 1935)."""
    bits = max(1, (count - 1).bit_length())
    return [at for at in (int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits)) if at < count]
