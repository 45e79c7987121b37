"""Ask the TPU compiler, which lives in an environment of its own, what a step takes."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock_shared.errors import PenstockError, UserMistake
from penstock_training.tpu_check.topology import Topology

ENVIRONMENT = "PENSTOCK_TPU"
SCRIPT = Path(__file__).with_name("compiler.py")


@dataclass(frozen=True)
class Compiled:
    """Hold what the compiler says of a step on one chip, in bytes and operations."""

    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    temporary_bytes: int
    code_bytes: int
    flops: float
    bytes_moved: float
    chip: str
    jax: str
    libtpu: str

    @property
    def hbm_bytes(self) -> int:
        """Return what the step holds of a chip's HBM; outputs that take an argument's place count once."""
        return self.argument_bytes + self.output_bytes - self.alias_bytes + self.temporary_bytes + self.code_bytes


class CompilerRefused(PenstockError):
    """Say that XLA did not lower the step, or the TPU compiler did not take it, in their own words."""


def compiler_python() -> Path:
    """Return the Python of the compiler's environment; raises UserMistake where there is none."""
    folder = Path(os.environ.get(ENVIRONMENT) or Path(sys.prefix).parent / ".tpu")
    python = folder / "bin" / "python"
    if not python.exists():
        raise UserMistake(
            f"tpu-check: {folder} is no environment with the TPU compiler; run make tpu in a checkout of Penstock, or "
            f"set {ENVIRONMENT} to where it was made"
        )
    return python


def compile_step(python: Path, topology: Topology, step: bytes) -> Compiled:
    """Compile a serialised HLO module for one chip of the topology.

    Raises CompilerRefused where the compiler does not take it, and UserMistake where the environment is not whole.
    """
    # Nothing of this environment may reach the other: its packages are others.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-I", str(SCRIPT), topology.name]
    done = subprocess.run(command, input=step, capture_output=True, env=environment, check=False)
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise UserMistake(f"{python}: the TPU compiler did not run: {last}; make the environment anew: make tpu")
    answer: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    if "refused" in answer:
        raise CompilerRefused(answer["refused"])
    return Compiled(**answer)
