"""The steps of matching pursuit on the CPU, compiled by numba."""

import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import add_one, parallel

_BLOCK = 1024
"""Products that are updated and compared together: few enough for the first cache."""
_TILE = 64
"""Rows and columns of a square that `mirror` copies at once, and that the first cache holds twice."""


@parallel
def pursue(
    products: np.ndarray,
    bits: np.ndarray,
    gram: np.ndarray,
    least: np.ndarray,
    chosen: np.ndarray,
    amounts: np.ndarray,
) -> None:
    """Write the latents that the steps choose in each row, and their products with the residual as amounts.

    ``products`` are the encoder's with the residual, and change with it: a step takes the chosen row of ``gram``, times
    its amount, from them. ``bits`` are the same memory viewed as integers, which have the order of positive products,
    and whose maximum vector units find. Steps end when no product exceeds the row's ``least``; ``chosen`` and
    ``amounts`` are zero from there on.
    """
    n_q, k = gram.shape[0], chosen.shape[1]
    for r in prange(len(products)):
        row, ordered = products[r], bits[r]
        amount, at = products.dtype.type(0), 0
        for step in range(k):
            largest, block = bits.dtype.type(0), 0
            for first in range(0, n_q, _BLOCK):
                end = min(first + _BLOCK, n_q)
                if step:
                    add_one(row[first:end], gram[at, first:end], -amount)
                top = bits.dtype.type(0)
                for j in range(first, end):
                    top = max(top, ordered[j])
                if top > largest:
                    largest, block = top, first
            at = block
            while ordered[at] != largest and at < n_q - 1:
                at += 1
            amount = row[at]
            if not amount > least[r]:
                break
            chosen[r, step], amounts[r, step] = at, amount


@parallel
def mirror(matrix: np.ndarray) -> None:
    """Copy the triangle below the diagonal of a square matrix to the triangle above it."""
    n = len(matrix)
    for block in prange(-(-n // _TILE)):
        first, end = block * _TILE, min((block + 1) * _TILE, n)
        for start in range(first, n, _TILE):
            for i in range(first, end):
                for j in range(max(start, i + 1), min(start + _TILE, n)):
                    matrix[i, j] = matrix[j, i]
