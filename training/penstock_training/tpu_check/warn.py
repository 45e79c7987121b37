"""Warn of what a TPU takes, but wastes or waits for."""

from penstock_training.tpu_check.findings import Findings
from penstock_training.tpu_check.plan import ALIGNMENT, padded
from penstock_training.tpu_check.tiles import SUBLANES

# Below this a chip's matrix units idle for more than half of the time that a product takes them.
MOST_PADDING = 0.5
MOST_PRODUCTS = 3
FULL_LANES = 128


def warnings(found: Findings) -> list[str]:
    """Return what to know before running, in sentences with numbers."""
    chip = found.topology.chip
    said = []
    if found.chip_rows % SUBLANES:
        said.append(
            f"a chip's {found.chip_rows} rows of a batch are no multiple of {SUBLANES}, the rows of a tile: "
            f"{padded(found.chip_rows, SUBLANES) - found.chip_rows} rows of each are padding; take a "
            f"training.batch_rows that is a multiple of {SUBLANES * found.topology.chips}"
        )
    elif found.chip_rows < FULL_LANES:
        said.append(
            f"a chip gets {found.chip_rows} rows of a batch, fewer than the {FULL_LANES} that fill its lanes; take a "
            f"training.batch_rows of {FULL_LANES * found.topology.chips} or more"
        )
    for product in [product for product in found.products if product.padding > MOST_PADDING][:MOST_PRODUCTS]:
        place = f" at {product.line}" if product.line else ""
        said.append(
            f"{product.padding:.0%} of the product [{product.rows}, {product.depth}] x [{product.depth}, "
            f"{product.columns}]{place} is padding to tiles of {SUBLANES} x {chip.matrix_width}"
        )
    sharded = [table for table in found.tables if table.sharded]
    for table in sharded:
        if table.width % ALIGNMENT:
            wide = padded(table.width, ALIGNMENT)
            said.append(
                f"table {table.name}: rows of {table.width} numbers are padded to {wide}: "
                f"{1 - table.width / wide:.0%} of its memory"
            )
    if sharded and not chip.sparse_cores:
        said.append(
            f"{found.topology.generation} has no SparseCores: its TensorCores would look up the rows of "
            f"{', '.join(table.name for table in sharded)} and update them, which is in the memory here but not in the "
            "operations and bytes moved"
        )
    if found.needed_rows_per_second and found.needed_rows_per_second > found.measured_rows_per_second:
        said.append(
            f"steps at the bound would take {found.needed_rows_per_second / found.measured_rows_per_second:,.0f} times "
            "the rows that this machine feeds; a TPU's hosts have more cores, so measure there"
        )
    return said
