"""Estimate how many distinct values there are, mergeably (HyperLogLog: Flajolet et al., 2007)."""

import base64
import zlib

import numpy as np

from penstock_dataprep.hashing import mix64

REGISTER_BITS = 12  # 4,096 registers: a standard error of 1.6 %
REGISTERS = 1 << REGISTER_BITS


def count_registers(values: np.ndarray) -> np.ndarray:
    """Return the uint8 registers of an integer array."""
    words = values.astype(np.int64).view(np.uint64).copy()
    mix64(words)
    # A float64's exponent is the place of a word's highest bit; the lowest bit set stops a rank past 64 - 12.
    rest = (words << np.uint64(REGISTER_BITS)) >> np.uint64(REGISTER_BITS) | np.uint64(1)
    highest = np.frexp(rest.astype(np.float64))[1]
    ranks = (64 - REGISTER_BITS + 1 - np.minimum(highest, 64 - REGISTER_BITS)).astype(np.uint8)
    registers = np.zeros(REGISTERS, np.uint8)
    np.maximum.at(registers, (words >> np.uint64(64 - REGISTER_BITS)).astype(np.int64), ranks)
    return registers


def estimate(registers: np.ndarray) -> int:
    """Return the number of distinct values behind some registers; few are counted by empty registers (ibid., 4)."""
    raw = 0.7213 / (1 + 1.079 / REGISTERS) * REGISTERS**2 / np.ldexp(1.0, -registers.astype(np.int64)).sum()
    empty = int((registers == 0).sum())
    if raw <= 2.5 * REGISTERS and empty:
        return round(REGISTERS * float(np.log(REGISTERS / empty)))
    return round(float(raw))


def pack(registers: np.ndarray) -> str:
    """Return registers as text."""
    return base64.b64encode(zlib.compress(registers.tobytes(), 9)).decode("ascii")


def unpack(text: str) -> np.ndarray:
    """Return the registers of a text. Raises ValueError where it is not one."""
    registers = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), np.uint8)
    if len(registers) != REGISTERS:
        raise ValueError(f"{len(registers)} registers, expected {REGISTERS}")
    return registers
