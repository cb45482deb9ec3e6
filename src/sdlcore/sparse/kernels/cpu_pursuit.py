"""The steps of matching pursuit and of orthogonal matching pursuit on the CPU, compiled by numba."""

from typing import Any

import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import add_entries, add_one, parallel, serial
from sdlcore.sparse.kernels.cpu_select import find_largest
from sdlcore.sparse.kernels.cpu_tiles import PIECE, SOON, fetch_piece

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
def pursue_backward(
    residual: np.ndarray,
    W_enc: np.ndarray,
    W_dec: np.ndarray,
    chosen: np.ndarray,
    amounts: np.ndarray,
    gradient: np.ndarray,
    rest: np.ndarray,
    to_amounts: np.ndarray,
    to_residual: np.ndarray,
) -> None:
    """Carry the gradient of the amounts back through all steps, to the residual before the first step.

    Also write the residual after the last step (``rest``), and the gradient of each amount that includes its effect on
    later steps (``to_amounts``).
    """
    k = chosen.shape[1]
    for r in prange(len(residual)):
        rest[r], to_residual[r] = residual[r], 0
        for step in range(k):
            add_one(rest[r], W_dec[chosen[r, step]], -amounts[r, step])
        for step in range(k - 1, -1, -1):
            to_amounts[r, step] = 0
            if amounts[r, step] > 0:
                w, slope = W_dec[chosen[r, step]], gradient[r, step]
                for j in range(len(w)):
                    slope -= w[j] * to_residual[r, j]
                to_amounts[r, step] = slope
                add_one(to_residual[r], W_enc[chosen[r, step]], slope)


@parallel
def pursue_to_weights(
    rest: np.ndarray,
    W_enc: np.ndarray,
    W_dec: np.ndarray,
    chosen: np.ndarray,
    amounts: np.ndarray,
    to_amounts: np.ndarray,
    to_enc: np.ndarray,
    to_dec: np.ndarray,
) -> None:
    """Write the gradients of the weights, from the results of `pursue_backward`; ``to_enc`` may be ``to_dec``.

    Each step adds the residual before it, times the amount's gradient, to a row of ``to_enc``. It takes the gradient of
    the residual after it, times the amount, from a row of ``to_dec``. A task computes one piece position of all rows.
    """
    d, k = W_enc.shape[1], chosen.shape[1]
    width = PIECE // W_enc.itemsize
    for task in prange(-(-d // width)):
        at, end = task * width, min(d, (task + 1) * width)
        before, after = np.empty(end - at, W_enc.dtype), np.empty(end - at, W_enc.dtype)
        to_enc[:, at:end] = 0
        to_dec[:, at:end] = 0
        for r in range(len(rest)):
            before[:] = rest[r, at:end]
            after[:] = 0
            for step in range(k - 1, -1, -1):
                soon = chosen[r, max(step - SOON, 0)]
                fetch_piece(W_dec[soon, at:], 0)
                fetch_piece(to_enc[soon, at:], 0)
                row, amount, slope = chosen[r, step], amounts[r, step], to_amounts[r, step]
                add_one(before, W_dec[row, at:end], amount)
                add_one(to_dec[row, at:end], after, -amount)
                add_one(to_enc[row, at:end], before, slope)
                add_one(after, W_enc[row, at:end], slope)


@parallel
def pursue_orthogonally(
    products: np.ndarray,
    gram: np.ndarray,
    least: np.ndarray,
    ridge: float,
    chosen: np.ndarray,
    codes: np.ndarray,
) -> None:
    """Write the active latents of each sample after k steps of orthogonal matching pursuit, and their codes.

    Each step adds the latent of the largest product with the residual. It then sets the codes of all active latents,
    and drops latents whose codes are not positive. A step adds no latent if no product exceeds the sample's ``least``.

    Parameters
    ----------
    products
        Inner products of the samples with the dictionary's unit rows (B x n_q).
    gram
        Inner products of the rows with each other (n_q x n_q).
    least
        Smallest product of a new latent (B).
    ridge
        Added to the squared norms of rows in least squares.
    chosen, codes
        Outputs, zero before the call (B x k).
    """
    k = chosen.shape[1]
    for r in prange(len(products)):
        residual, n = products[r].copy(), 0
        active, z = chosen[r], codes[r]
        factor, solved = np.empty((k, k)), np.empty(k)
        for step in range(k):
            for j in range(n):
                residual[active[j]] = 0
            new = find_largest(residual, least[r])
            if new < 0:
                break
            active[n], z[n] = new, 0
            n = _solve(products[r], gram, ridge, active, z, factor, solved, n + 1)
            if step + 1 < k:
                residual[:] = products[r]
                add_entries(residual, active[:n], -z[:n], gram)
        active[n:] = 0
        z[n:] = 0


@serial
def _solve(
    products: np.ndarray,
    gram: np.ndarray,
    ridge: float,
    active: np.ndarray,
    z: np.ndarray,
    factor: np.ndarray,
    solved: np.ndarray,
    n: int,
) -> Any:
    """Set the codes of n latents by least squares. The Cholesky ``factor`` covers all of them but the last.

    ``solved`` are the factor's inverse times the products. Drop latents whose codes are not positive, solve again until
    all are, and return the number of latents.
    """
    n_solved = n - 1
    while True:
        for i in range(n_solved, n):
            square, product = 1 + ridge, np.float64(products[active[i]])
            for j in range(i):
                entry = np.float64(gram[active[i], active[j]])
                for m in range(j):
                    entry -= factor[i, m] * factor[j, m]
                factor[i, j] = entry / factor[j, j]
                square -= factor[i, j] * factor[i, j]
                product -= factor[i, j] * solved[j]
            factor[i, i] = np.sqrt(max(square, ridge))
            solved[i] = product / factor[i, i]
        remaining = n_solved = 0
        for i in range(n - 1, -1, -1):
            code = solved[i]
            for j in range(i + 1, n):
                code -= factor[j, i] * z[j]
            z[i] = code / factor[i, i]
        while n_solved < n and z[n_solved] > 0:
            n_solved += 1
        for i in range(n):
            if z[i] > 0:
                active[remaining], z[remaining] = active[i], z[i]
                remaining += 1
        if remaining == n:
            return n
        n = remaining


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
