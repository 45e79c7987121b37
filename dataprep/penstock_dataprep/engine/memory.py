"""Keep the memory that a batch freed for the next one, and the garbage collector off what stays."""

import ctypes
import gc

import pyarrow as pa

# Of glibc's malloc.h; the values are bytes, but for the number of arenas.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
SETTINGS = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: (1 << 31) - 1, M_TOP_PAD: 1 << 26, M_ARENA_MAX: 1}


def keep_freed_memory() -> None:
    """Tell glibc not to hand memory back after each batch: taking it anew, page by page, is a sixth of a build's time.

    Threads share what was freed, and so does Arrow, whose own allocator would hand it back. Other C libraries have no
    such setting, and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in SETTINGS.items():
            mallopt(parameter, value)
        pa.set_memory_pool(pa.system_memory_pool())


def freeze_what_is_loaded() -> None:
    """Keep the garbage collector from going through all modules again and again, which stops every thread."""
    gc.collect()
    gc.freeze()
