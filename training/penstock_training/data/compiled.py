"""Compile functions of the input with XLA, which fuses their many small operations into one pass over memory."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` compiled for the CPU, once for each shape of its arguments; as it is where nothing compiles."""
    held: Callable[..., Any] = tf.function(function, jit_compile=_has_compiler(), autograph=False)
    return held


@functools.cache
def _has_compiler() -> bool:
    """Tell whether XLA compiles for the CPU, which TensorFlow's packages for TPUs do not.

    To ask, something small is compiled, and what the compiler says of itself once in every process is passed over.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere, tf.init_scope(), tf.device("CPU:0"):
            os.dup2(nowhere.fileno(), 2)
            tf.function(lambda number: number + 1, jit_compile=True, autograph=False)(tf.constant(0))
    except tf.errors.OpError:
        return False
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    return True
