"""Estimate how many distinct values there are, mergeably (HyperLogLog: Flajolet et al., 2007)."""

import base64
import zlib

import numpy as np

from penstock_dataprep.order.hashing import CHUNK, mix64

REGISTER_BITS = 12  # 4,096 registers: a standard error of 1.6 %
REGISTERS = 1 << REGISTER_BITS
RANK_BITS = np.uint64(6)
REST = np.uint64((1 << (64 - REGISTER_BITS)) - 1)
FLOAT64_FRACTION_BITS, FLOAT64_BIAS = 52, 1023


def count_registers(values: np.ndarray) -> np.ndarray:
    """Return the uint8 registers of an integer array."""
    seen = np.zeros(REGISTERS << int(RANK_BITS), bool)
    for start in range(0, len(values), CHUNK):
        words = values[start : start + CHUNK].astype(np.int64).view(np.uint64)
        mix64(words)
        pairs = (words >> np.uint64(64 - REGISTER_BITS) << RANK_BITS).view(np.int64)
        # The exponent of a float64, which holds 52 bits exactly, is the place of a word's highest bit; the lowest bit
        # set stops a rank past 64 - 12.
        rest = (words & REST | np.uint64(1)).view(np.int64).astype(np.float64).view(np.int64)
        pairs += 64 - REGISTER_BITS + FLOAT64_BIAS - (rest >> FLOAT64_FRACTION_BITS)
        seen[pairs] = True
    ranks = seen.reshape(REGISTERS, -1)
    largest = ranks.shape[1] - 1 - np.argmax(ranks[:, ::-1], axis=1)
    return np.where(ranks.any(axis=1), largest, 0).astype(np.uint8)


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
