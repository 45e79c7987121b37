"""Compile a lowered step with the TPU compiler; a program of its own, for an environment with jax[tpu] (make tpu).

    python compiler.py TOPOLOGY < step.hlo > answer.json

No other module of Penstock is imported here, and this one by none: jax needs another numpy than TensorFlow does. The
names of jaxlib beneath are private, hence the pins in requirements/tpu.in and the test that compiles with them.
"""

import json
import os
import sys
from typing import Any

# The topology is described by the compiler's library alone: no chip is asked for, and none is looked for.
WITHOUT_CHIPS = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # Chips are for one process alone; their compiler is not, and leaves no logs behind.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_LOG_DIR": "disabled",
}
# TensorFlow's lowering for a CPU copies what it returns; the op has no meaning for values, and no TPU lowering.
COPY = "mhlo.copy"


def main(topology: str, step: bytes) -> dict[str, Any]:
    """Return the memory and cost of a serialised HLO module on one chip, or the compiler's words against it."""
    os.environ.update(WITHOUT_CHIPS)
    import jax
    import numpy as np
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax, xla_client
    from jax._src.lib.mlir import ir

    answer: dict[str, Any] = {"jax": jax.__version__, "libtpu": _version("libtpu")}
    device = _devices(topology)[0]
    answer["chip"] = device.device_kind
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[device.id]]))
    with mlir.make_ir_context():
        module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(step))
        _drop_copies(ir, module)
        try:
            compiled = device.client.compile(module, _jax.DeviceList((device,)), options)
        except _jax.JaxRuntimeError as fault:
            return answer | {"refused": str(fault)}
    memory, cost = compiled.get_compiled_memory_stats(), compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    return answer | {
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "alias_bytes": memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "code_bytes": memory.generated_code_size_in_bytes,
        "flops": cost.get("flops", 0.0),
        "bytes_moved": cost.get("bytes accessed", 0.0),
    }


def _devices(topology: str) -> Any:
    from jax.experimental import topologies

    generation, _, shape = topology.partition(":")
    # A slice of one chip has a part of a host, and the two cores of a v4 chip work as one unless told otherwise.
    settings: dict[str, Any] = {"chips_per_host_bounds": (1, 1, 1)} if shape == "1x1" else {}
    if generation == "v4":
        settings["chip_config_name"] = "megacore"
    return topologies.get_topology_desc(platform="tpu", topology_name=topology, **settings).devices


def _drop_copies(ir: Any, module: Any) -> None:
    copies = []

    def visit(op: Any) -> Any:
        if op.name == COPY:
            copies.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for op in copies:
        op.results[0].replace_all_uses_with(op.operands[0])
        op.erase()


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    answer = main(sys.argv[1], sys.stdin.buffer.read())
    print(json.dumps(answer))
