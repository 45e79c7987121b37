"""Sum numbers and their squares exactly, so that no order of addition shows in what is measured.

A float32 is a 24-bit integer times a power of two: integers of equal exponent are summed in float64, which holds these
sums exactly, and the sums of the exponents as one long integer. An int64 is cut into pieces whose products are summed
in int64.
"""

from fractions import Fraction

import numpy as np

ROWS = 1 << 20  # summed at a time: more and the sums of pieces might not fit
SUBNORMAL = 149  # the smallest positive float32 is 2^-149
MANTISSA_BITS, HALF_BITS, PIECE_BITS = 23, 24, 21


def exact_sums(numbers: np.ndarray) -> tuple[Fraction, Fraction]:
    """Return (the sum, the sum of the squares) of a float32 or int64 array without NaN and infinities."""
    sums = _float_sums if numbers.dtype == np.float32 else _integer_sums
    parts = [sums(numbers[start : start + ROWS]) for start in range(0, len(numbers), ROWS)]
    return sum((part[0] for part in parts), Fraction(0)), sum((part[1] for part in parts), Fraction(0))


def _float_sums(numbers: np.ndarray) -> tuple[Fraction, Fraction]:
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    exponents = ((bits >> MANTISSA_BITS) & 0xFF).astype(np.int64)
    mantissas = (bits & ((1 << MANTISSA_BITS) - 1)).astype(np.int64)
    mantissas[exponents > 0] |= 1 << MANTISSA_BITS
    shifts = np.maximum(exponents, 1) - 1
    squares = mantissas**2
    low = squares & ((1 << HALF_BITS) - 1)
    total = _scaled(shifts, np.where(numbers < 0, -mantissas, mantissas), 1)
    square_total = _scaled(shifts, low, 2) + (_scaled(shifts, squares >> HALF_BITS, 2) << HALF_BITS)
    return Fraction(total, 1 << SUBNORMAL), Fraction(square_total, 1 << 2 * SUBNORMAL)


def _scaled(shifts: np.ndarray, integers: np.ndarray, power: int) -> int:
    """Return the sum of integers x 2^(power x shift)."""
    by_shift = np.bincount(shifts, integers.astype(np.float64))
    return sum(int(by_shift[shift]) << power * shift for shift in np.flatnonzero(by_shift).tolist())


def _integer_sums(numbers: np.ndarray) -> tuple[Fraction, Fraction]:
    mask = (1 << PIECE_BITS) - 1
    pieces = [numbers & mask, (numbers >> PIECE_BITS) & mask, numbers >> 2 * PIECE_BITS]
    total = sum(int(piece.sum()) << PIECE_BITS * place for place, piece in enumerate(pieces))
    square_total = sum(
        int(first @ second) << PIECE_BITS * (place + other)
        for place, first in enumerate(pieces)
        for other, second in enumerate(pieces)
    )
    return Fraction(total), Fraction(square_total)
