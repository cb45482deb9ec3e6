"""Round rows of float32 to bfloat16 or int8 on the CPU, compiled by numba."""

from typing import Any

import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import parallel, serial

_SMALLEST = np.float32(2.0**-120)
"""Quantisation step below which a row is rounded to zeros."""


@serial
def _rounded(bits: Any) -> Any:
    """Return the bits of the bfloat16 nearest to a float32; ties go to even."""
    return np.int16((bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16))


@parallel
def to_bfloat16(bits: np.ndarray, last: np.ndarray, out: np.ndarray) -> None:
    """Round rows of float32, given as bits, to bfloat16.

    Two numbers are appended to each row, which add up to its ``last``: the second is the rounding error of the first.
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
    """Quantise each row of float32 to integers from -127 to 127, with a step size of its own.

    Also write the row's norm and the norm of its rounding error. ``bits`` are ``x`` viewed as integers, because
    vector units find the largest integer faster.
    """
    for r in prange(len(x)):
        row, of_row, to = x[r], bits[r], out[r]
        largest: Any = np.int32(0)
        for j in range(len(row)):
            largest = max(largest, of_row[j] & np.int32(0x7FFFFFFF))
        size = np.int32(largest).view(np.float32) / np.float32(127)
        # a step whose inverse would be infinite makes the row zero
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
