"""Cut an epoch into lanes and share the work between hosts, so that the order of rows is the same for any hosts.

A lane is an equal range of the epoch's rows with windows of its own; a global batch is the same number of rows of each
lane, in the lanes' order. Hosts take whole lanes where there are enough of them, and read only the blocks of these;
where hosts outnumber the lanes, the hosts of one lane each read all of it and keep their part of its rows.
"""

from dataclasses import dataclass

import numpy as np

from penstock_shared.errors import UserMistake


@dataclass(frozen=True)
class Host:
    """Say which of `count` equal processes this is, from 0 on."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"host index {self.index} of {self.count} hosts: expected 0 to {self.count - 1}")


@dataclass(frozen=True)
class Share:
    """Say what a host takes of each global batch: of each lane in `lanes`, rows `first_row` to `end_row`."""

    lanes: range
    first_row: int
    end_row: int

    @property
    def rows(self) -> int:
        """Return the rows of one of the host's batches."""
        return len(self.lanes) * (self.end_row - self.first_row)


ONE_HOST = Host()


def share_of(host: Host, lanes: int, batch_rows: int) -> Share:
    """Return a host's share; the hosts' shares, one after another, are the global batch.

    Raises UserMistake when lanes, hosts and `batch_rows`, those of the global batch, do not divide.
    """
    for name, parts in (("training.lanes", lanes), ("the number of hosts", host.count)):
        if batch_rows % parts:
            raise UserMistake(
                f"training.batch_rows is {batch_rows}, which {name}, {parts}, does not divide; "
                f"take a multiple of it, such as {(batch_rows // parts + 1) * parts}"
            )
    lane_batch_rows = batch_rows // lanes
    if lanes % host.count == 0:
        lanes_per_host = lanes // host.count
        return Share(range(host.index * lanes_per_host, (host.index + 1) * lanes_per_host), 0, lane_batch_rows)
    if host.count % lanes == 0:
        lane, part = divmod(host.index, host.count // lanes)
        rows = batch_rows // host.count
        return Share(range(lane, lane + 1), part * rows, (part + 1) * rows)
    raise UserMistake(
        f"training.lanes is {lanes}, but there are {host.count} hosts; expected a multiple of the hosts "
        f"(such as {host.count}), or a number that divides them (1 always does)"
    )


def window_ranges(
    lanes: range, all_lanes: int, rows: int, rows_per_window: int, first_window: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (first rows, end rows), int64 [ranges], of a host's windows: window by window, those of its lanes.

    Lanes cut `rows` rows into equal ranges; the last `rows % all_lanes` of an epoch go. What lies end to end is one
    range.
    """
    lane_rows = rows // all_lanes
    starts = np.array(lanes, np.int64) * lane_rows
    if len(lanes) == 1:
        return starts + min(first_window * rows_per_window, lane_rows), starts + lane_rows
    first = np.arange(first_window * rows_per_window, lane_rows, rows_per_window, dtype=np.int64)[:, None]
    return (starts + first).reshape(-1), (starts + np.minimum(first + rows_per_window, lane_rows)).reshape(-1)


def evaluation_range(host: Host, rows: int) -> tuple[int, int]:
    """Return the (first row, end row) that a host evaluates; the hosts' ranges, one after another, are all rows."""
    return host.index * rows // host.count, (host.index + 1) * rows // host.count


def evaluation_steps(hosts: int, rows: int, batch_rows: int) -> int:
    """Return how many batches each host evaluates, `batch_rows` being the rows of all hosts' batches together."""
    if batch_rows % hosts:
        raise UserMistake(
            f"evaluation.batch_rows is {batch_rows}, which the number of hosts, {hosts}, does not divide; "
            f"take a multiple of it, such as {(batch_rows // hosts + 1) * hosts}"
        )
    longest = -(-rows // hosts)
    return -(-longest // (batch_rows // hosts))
