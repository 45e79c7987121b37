"""Say which ops, of which types, XLA compiles, by TensorFlow's own list of kernels.

TensorFlow's package for CPUs registers no kernels of XLA_TPU_JIT; those of XLA_CPU_JIT come from the same sources, but
for a few that one of the two leaves out. What that lets through, the compiler refuses. `kernels` is a private module of
TensorFlow's, used here alone.
"""

import functools
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import kernels

from penstock_training.tpu_check.quiet import quiet_native

STAND_IN = "XLA_CPU_JIT"
# None computes anything: a function's input, an edge of control, a value handed on.
FREE = ("Placeholder", "NoOp", "Identity")
# kTpuAllTypes of tensorflow/core/tpu/tpu_defs.h, by the names of tf.DType, without those of 4 and 8 bits of a float.
TPU_TYPES = (
    *("bool", "int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("half", "bfloat16", "float32", "float64", "complex64", "qint8", "quint8", "qint32"),
)
# Handles of variables and lists of tensors hold no numbers; XLA resolves them.
HANDLES = ("resource", "variant")


@functools.cache
def compiled_types(op_type: str) -> tuple[dict[str, frozenset[int]], ...]:
    """Return, of each kernel that XLA compiles an op of this type by, the types its attributes may have; () if none."""
    if op_type in FREE:
        return ({},)
    _register()
    found = []
    for kernel in kernels.get_registered_kernels_for_op(op_type).kernel:
        if kernel.device_type == STAND_IN:
            held = {limit.name: frozenset(limit.allowed_values.list.type) for limit in kernel.constraint}
            found.append({name: types for name, types in held.items() if types})
    return tuple(found)


def is_compiled(op: tf.Operation) -> bool:
    """Return whether XLA has a kernel for the op with the types it has."""
    attributes = op.node_def.attr
    return any(
        all(_types(attributes[name]) <= types for name, types in kernel.items() if name in attributes)
        for kernel in compiled_types(op.type)
    )


@functools.cache
def _register() -> None:
    """Compile something: only then does TensorFlow list the kernels of XLA."""
    with quiet_native():
        tf.function(lambda value: value + value, jit_compile=True)(tf.constant(1))


def _types(attribute: Any) -> set[int]:
    return set(attribute.list.type) or {attribute.type}
