"""Hold what a check found, and say what of it is a misfit."""

from dataclasses import dataclass

from penstock_training.tpu.optimizers import TPU_OPTIMIZERS
from penstock_training.tpu_check.compile import Compiled
from penstock_training.tpu_check.plan import TablePlan
from penstock_training.tpu_check.refused import Refusal
from penstock_training.tpu_check.roofline import Roofline
from penstock_training.tpu_check.tiles import Product
from penstock_training.tpu_check.topology import Topology
from penstock_training.tpu_check.trace import Exchange


@dataclass(frozen=True)
class Findings:
    """Hold all that was found; `compiled` and `bound` are None where the step was refused before or by the compiler."""

    recipe_path: str
    topology: Topology
    batch_rows: int
    table_optimizer: str
    tables: list[TablePlan]
    uneven: str | None
    exchange: Exchange
    products: list[Product]
    refusals: list[Refusal]
    compiler_words: str | None
    compiled: Compiled | None
    bound: Roofline | None
    measured_rows_per_second: float

    @property
    def chip_rows(self) -> int:
        """Return a chip's rows of a batch."""
        return self.batch_rows // self.topology.chips

    @property
    def sharded_bytes(self) -> int:
        """Return what sharded tables take of a chip; replicated ones are among the step's arguments."""
        return sum(table.bytes_per_chip for table in self.tables if table.sharded)

    @property
    def list_bytes(self) -> int:
        """Return what the lists of ids that SparseCores are given take of a chip."""
        return sum(table.limits.list_bytes for table in self.tables if table.limits)

    @property
    def hbm_bytes(self) -> int:
        """Return what is known to be held of a chip's HBM."""
        return self.sharded_bytes + self.list_bytes + (self.compiled.hbm_bytes if self.compiled else 0)

    @property
    def needed_rows_per_second(self) -> float | None:
        """Return the rows that all chips would take in a second if steps took no longer than their bound."""
        return self.bound.most_rows_per_second(self.batch_rows) if self.bound else None

    @property
    def misfits(self) -> list[str]:
        """Return why the recipe cannot run on the topology; an input that is too slow is none, only slow."""
        found = []
        if self.refusals:
            found.append(f"a TPU refuses {len(self.refusals)} of its lines")
        if self.compiler_words is not None:
            found.append("the compiler refuses the step")
        on_cores = [table.name for table in self.tables if table.sharded and table.cores_per_chip]
        if on_cores and self.table_optimizer not in TPU_OPTIMIZERS:
            found.append(
                f"SparseCores do not update {', '.join(on_cores)} by {self.table_optimizer}, the recipe's "
                f"optimizer.embeddings; take one of {', '.join(TPU_OPTIMIZERS)}"
            )
        if self.uneven is not None:
            found.append(self.uneven)
        room = self.topology.chip.hbm_bytes
        if self.hbm_bytes > room:
            found.append(f"a chip would hold {self.hbm_bytes:,} bytes, and has {room:,}")
        return found
