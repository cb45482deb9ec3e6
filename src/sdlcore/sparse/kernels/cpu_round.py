"""Round rows of float32 to bfloat16 or int8 on the CPU, compiled by numba."""

from typing import Any

import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import parallel, serial

_SMALLEST = np.float32(2.0**-120)
"""Size of a step below which a row is rounded to zeros."""


@serial
def _rounded(bits: Any) -> Any:
    """Return the bits of the bfloat16 nearest to a float32, of two the even one."""
    return np.int16((bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16))


@parallel
def to_bfloat16(bits: np.ndarray, last: np.ndarray, out: np.ndarray) -> None:
    """Round rows of float32, given as bits, to bfloat16.

    After each come two numbers that add up to that in ``last``; the second is what the first loses in rounding.
    """
    for r in prange(len(bits)):
        row, to = bits[r], out[r]
        for j in range(len(row)):
            to[j] = _rounded(row[j])
        near = _rounded(np.float32(last[r]).view(np.int32))
        lost = last[r] - np.int32(np.int32(near) << 16).view(np.float32)
        to[len(row)] = near
        to[len(row) + 1] = _rounded(np.float32(lost).view(np.int32))


@parallel
def quantise(
    x: np.ndarray, bits: np.ndarray, out: np.ndarray, steps: np.ndarray, norms: np.ndarray, lost: np.ndarray
) -> None:
    """Write each row of float32 in whole steps of a size of its own, as integers from -127 to 127.

    And its norm, and that of what this takes from it. ``bits`` are ``x`` read as integers, of which vector units find
    the largest.
    """
    for r in prange(len(x)):
        row, of_row, to = x[r], bits[r], out[r]
        largest: Any = np.int32(0)
        for j in range(len(row)):
            largest = max(largest, of_row[j] & np.int32(0x7FFFFFFF))
        size = np.int32(largest).view(np.float32) / np.float32(127)
        # where an inverse would be infinite, a row of zeros
        inverse = np.float32(0) if size < _SMALLEST else np.float32(1 / size)
        steps[r] = size
        square, square_lost = np.float32(0), np.float32(0)
        for j in range(len(row)):
            near = np.rint(row[j] * inverse)
            difference = row[j] - near * size
            square += row[j] * row[j]
            square_lost += difference * difference
            to[j] = np.int8(near)
        norms[r] = np.sqrt(square)
        lost[r] = np.sqrt(square_lost)
