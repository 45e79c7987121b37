"""Name the chips of a TPU slice and what one of them is published to have."""

from dataclasses import dataclass
from math import prod

from penstock_shared.errors import UserMistake
from penstock_shared.strict import nearest

FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBIC = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16")


@dataclass(frozen=True)
class Chip:
    """Hold what is published of one chip.

    `flops_per_second` is the peak in bfloat16, the fastest the matrix units take a float32 product in at the default
    precision. `sparse_cores` are those that look up embeddings. A matrix unit multiplies tiles `matrix_width` wide.
    """

    hbm_bytes: int
    hbm_bytes_per_second: float
    flops_per_second: float
    sparse_cores: int
    matrix_width: int
    shapes: tuple[str, ...]


# By generation. HBM, bandwidth, peak and shapes: cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e, read in 2026-11;
# where a page says GiB it is GiB here. SparseCores: /v5p-training (4); Jouppi et al., "TPU v4: An Optically
# Reconfigurable Supercomputer for Machine Learning with Hardware Support for Embeddings", 2023 (4); of v6e (2) and v5e
# (none), and the widths of matrix units: jax.experimental.pallas.tpu.get_tpu_info_for_chip of jax 0.10.2.
CHIPS = {
    "v4": Chip(32 << 30, 1200e9, 275e12, 4, 128, CUBIC),
    "v5e": Chip(16 * 10**9, 819e9, 197e12, 0, 128, FLAT),
    "v5p": Chip(95 << 30, 2765e9, 459e12, 4, 128, CUBIC),
    "v6e": Chip(32 * 10**9, 1638e9, 918e12, 2, 256, FLAT),
}


@dataclass(frozen=True)
class Topology:
    """Hold a slice of a generation, as in v5e:2x4."""

    name: str
    generation: str
    chips: int

    @property
    def chip(self) -> Chip:
        """Return what one chip has."""
        return CHIPS[self.generation]


def parse_topology(text: str) -> Topology:
    """Return the slice that `text` names; raises UserMistake listing those there are and the nearest."""
    known = [f"{generation}:{shape}" for generation, chip in CHIPS.items() for shape in chip.shapes]
    if text not in known:
        raise UserMistake(f"--topology {text}: no such slice; {nearest(text, known)}")
    generation, _, shape = text.partition(":")
    return Topology(text, generation, prod(map(int, shape.split("x"))))
