"""Say where a run is trained: on which devices of this process, and as which of how many processes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from penstock_shared.errors import UserMistake
from penstock_training.data.lanes import ONE_HOST, Host


@dataclass(frozen=True)
class Placement:
    """Hold the strategy that places variables and runs steps, and which of the processes this is."""

    strategy: tf.distribute.Strategy
    host: Host = ONE_HOST
    # Tables of so many rows and more lie with embedding cores, where there are any.
    least_rows_on_cores: int | None = None
    # Where these are SparseCores, how many of them a chip has.
    sparse_cores_per_chip: int = 0

    @property
    def replicas(self) -> int:
        """Return the number of replicas of all hosts."""
        count: int = self.strategy.num_replicas_in_sync
        return count

    @property
    def leads(self) -> bool:
        """Tell whether this process writes what the run leaves, and speaks for it."""
        return self.host.index == 0

    def wait(self) -> None:
        """Wait until all hosts have come here."""
        self.share([0])

    def share(self, numbers: list[int]) -> np.ndarray:
        """Return the numbers of every replica's host, int64 [replicas, numbers]; waits until all have given theirs."""
        if self.host.count == 1:
            return np.array([numbers], np.int64)
        gathered = self._gather(tf.constant([numbers], tf.int64))
        shared: np.ndarray = self.strategy.experimental_local_results(gathered)[0].numpy()
        return shared

    def agree(self, number: int, what: str) -> None:
        """Raise UserMistake when hosts give different numbers for `what`."""
        found = self.share([number])[:, 0]
        if (found != number).any():
            raise UserMistake(
                f"{what} is {', '.join(map(str, found))} as each worker sees it; give paths that all workers share"
            )

    @cached_property
    def _gather(self) -> Callable[[tf.Tensor], tf.Tensor]:
        def give(numbers: tf.Tensor) -> tf.Tensor:
            # What comes from outside lies on no replica's device.
            return tf.distribute.get_replica_context().all_gather(tf.identity(numbers), axis=0)

        @tf.function(reduce_retracing=True)
        def gather(numbers: tf.Tensor) -> tf.Tensor:
            return self.strategy.run(give, (numbers,))

        return gather
