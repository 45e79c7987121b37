"""Fill new tables slice by slice, in the place where they stay, and on huge pages."""

import ctypes
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from penstock_training.tables.slices import slices

# A slice is (first row, rows); what fills it is float32 [rows, width].
Fill = Callable[[int, int], tf.Tensor]

MADV_HUGEPAGE = 14
PAGE_BYTES = 4096
# Smaller tables find room in the processor's caches.
LEAST_HUGE_BYTES = 16 << 20


def filled(rows: int, width: int, fill: Fill) -> tf.Tensor:
    """Return a float32 tensor [rows, width] of slices; no more than it and a slice is ever held."""
    table = tf.raw_ops.Empty(shape=[rows, width], dtype=tf.float32, init=False)
    _use_huge_pages(table)
    for first, count in slices(rows, width):
        table = tf.raw_ops.InplaceUpdate(x=table, i=tf.range(first, first + count), v=fill(first, count))
    return table


def normal_noise(key: tuple[int, int], width: int, stddev: float) -> Fill:
    """Return what fills slices with the numbers of tf.random.stateless_normal over the whole table.

    Philox is a function of a counter, which goes up by one for four numbers (Salmon et al., SC 2011): a slice begins at
    its own.
    """
    philox, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=tf.constant(key, tf.int64))

    def fill(first: int, count: int) -> tf.Tensor:
        skipped = counter + tf.constant([first * width // 4, 0], tf.uint64)
        drawn = tf.raw_ops.StatelessRandomNormalV2(shape=[count, width], key=philox, counter=skipped, alg=1)
        return drawn * stddev

    return fill


def _use_huge_pages(table: tf.Tensor) -> None:
    """Ask Linux for pages of 2 MiB, so that rows drawn from anywhere cost less to find; it may decline."""
    held = np.asarray(table) if "CPU" in table.device and tf.executing_eagerly() else np.zeros(0)
    if held.nbytes < LEAST_HUGE_BYTES:
        return
    start = -(-held.ctypes.data // PAGE_BYTES) * PAGE_BYTES
    size = held.ctypes.data + held.nbytes - start
    ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_HUGEPAGE)
