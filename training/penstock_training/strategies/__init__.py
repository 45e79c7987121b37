"""Offer the strategies that a run can be trained by; each returns a placement for a number of replicas, or refuses.

A strategy is no part of a run: a checkpoint is continued by any of them, and the order of examples stays the same.
"""

from collections.abc import Callable

from penstock_shared.errors import UserMistake
from penstock_training.strategies.mirrored import mirrored
from penstock_training.strategies.multi_worker import multi_worker
from penstock_training.strategies.one import one
from penstock_training.strategies.placement import Placement
from penstock_training.strategies.tpu import tpu

STRATEGIES: dict[str, Callable[[int | None], Placement]] = {
    "one": one,
    "mirrored": mirrored,
    "multi-worker": multi_worker,
    "tpu": tpu,
}


def place(strategy: str, replicas: int | None, batch_rows: int) -> Placement:
    """Return the placement of a run with batches of `batch_rows` rows, which the replicas share evenly.

    Raises UserMistake where there are not the devices, or they cannot share a batch.
    """
    placement = STRATEGIES[strategy](replicas)
    check_share(batch_rows, placement.replicas)
    return placement


def check_share(batch_rows: int, replicas: int) -> None:
    """Raise UserMistake where replicas cannot share batches of `batch_rows` rows evenly."""
    if batch_rows % replicas:
        raise UserMistake(
            f"training.batch_rows is {batch_rows}, which the number of replicas, {replicas}, does not "
            f"divide; take a multiple of it, such as {(batch_rows // replicas + 1) * replicas}"
        )


__all__ = ["STRATEGIES", "Placement", "check_share", "place"]
