"""Numba loops of double-batch K-SVD, compiled as in `sdlcore.sparse.kernels.cpu`.

One thread handles each sample's pursuit and each atom's update, so results do not depend on the number of threads.
"""

from typing import Any

import numba
import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import parallel, serial

# fastmath, because the compiler vectorises a maximum only if numbers are finite, and searches have checked that
_largest = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)

_BLOCK = 128
"""Products in a block. The pursuit finds the largest block maximum first, then its place in that block."""
_CHUNK = 128
"""Dimensions of the residual that one thread updates."""
_NOTHING = 1e-8
"""Relative fall of a sample's squared error below which the pursuit stops."""


@_largest
def _step(products: np.ndarray, row: np.ndarray, change: Any, signed: bool) -> int:
    """Subtract ``change`` times a Gram row from the products; return the place of the largest, or -1 if all are <= 0.

    With ``signed`` codes it is the largest in absolute value.
    """
    best, block = np.float32(0), -1
    for start in range(0, len(products), _BLOCK):
        stop = min(start + _BLOCK, len(products))
        highest = np.float32(0)
        if signed:
            for j in range(start, stop):
                products[j] -= change * row[j]
                highest = max(highest, abs(products[j]))
        else:
            for j in range(start, stop):
                products[j] -= change * row[j]
                highest = max(highest, products[j])
        if highest > best:
            best, block = highest, start
    if block < 0:
        return -1
    for j in range(block, min(block + _BLOCK, len(products))):
        if products[j] == best or (signed and -products[j] == best):
            return j
    return -1


@parallel
def pursue(
    products: np.ndarray,
    gram: np.ndarray,
    picks: int,
    signed: bool,
    columns: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    errors: np.ndarray,
) -> None:
    """Pick atoms for each sample and set their codes.

    Parameters
    ----------
    products
        Inner products of B samples with K unit atoms; overwritten.
    gram
        K x K inner products of the atoms.
    picks
        Largest number of picks per sample.
    signed
        Whether codes may be negative.
    columns, values
        B x s, written: the atoms of each sample, ascending, and their nonzero codes.
    counts
        B, written: number of atoms of each sample.
    errors
        B squared norms of the samples; overwritten with their squared errors.
    """
    for r in prange(len(products)):
        p, atoms, codes = products[r], columns[r], values[r]
        enough = np.float32(_NOTHING) * errors[r]
        n, change, row = 0, np.float32(0), gram[0]
        for _ in range(picks):
            at = _step(p, row, change, signed)
            change = p[at] if at >= 0 else np.float32(0)
            place = n
            for i in range(n):
                if atoms[i] == at:
                    place = i
                # a pick may also reduce an earlier code, but not below zero
                if not signed:
                    fall = max(p[atoms[i]], -codes[i])
                    if -fall > abs(change):
                        at, place, change = atoms[i], i, fall
            if change * change <= enough or (place == n and n == len(atoms)):
                break
            if place == n:
                atoms[n], codes[n] = at, 0
                n += 1
            codes[place] += change
            errors[r] -= change * (2 * p[at] - change)
            row = gram[at]
        # sort by atom, and drop codes that have become zero
        n_nonzero = 0
        for i in range(n):
            atom, code = atoms[i], codes[i]
            if code == 0:
                continue
            j = n_nonzero
            while j > 0 and atoms[j - 1] > atom:
                atoms[j], codes[j] = atoms[j - 1], codes[j - 1]
                j -= 1
            atoms[j], codes[j] = atom, code
            n_nonzero += 1
        counts[r] = n_nonzero


@serial
def _leading_pair(E: np.ndarray, steps: int, signed: bool, g: np.ndarray, d: np.ndarray) -> None:
    """Move codes g (m) and unit atom d towards the leading singular pair of E (m x n_r)."""
    for _ in range(steps):
        total = np.zeros(len(d), dtype=d.dtype)
        for i in range(len(g)):
            if g[i] != 0:
                for j in range(len(d)):
                    total[j] += g[i] * E[i, j]
        norm = d.dtype.type(0)
        for j in range(len(d)):
            norm += total[j] * total[j]
        if not norm > 0:
            return
        norm = np.sqrt(norm)
        for j in range(len(d)):
            d[j] = total[j] / norm
        for i in range(len(g)):
            code = d.dtype.type(0)
            for j in range(len(d)):
                code += E[i, j] * d[j]
            g[i] = code if signed else max(code, d.dtype.type(0))


@parallel
def update(
    some: np.ndarray,
    offsets: np.ndarray,
    samples: np.ndarray,
    steps: int,
    signed: bool,
    atoms: np.ndarray,
    values: np.ndarray,
    residual: np.ndarray,
) -> None:
    """Update some atoms and their codes from one residual, then update the residual for all of them.

    Parameters
    ----------
    some
        Indices of the atoms to update.
    offsets, samples
        The pattern by atoms: atom a is used by ``samples[offsets[a]:offsets[a + 1]]``.
    steps
        Number of power-method steps.
    signed
        Whether codes may be negative.
    atoms
        K x n_r unit rows; the rows in ``some`` are overwritten.
    values
        Codes, grouped by atom like ``samples``; codes of the atoms in ``some`` are overwritten.
    residual
        B x n_r: samples less their reconstructions; overwritten.
    """
    n_r = atoms.shape[1]
    before = atoms[some]
    old = values.copy()
    for k in prange(len(some)):
        a = some[k]
        start, stop = offsets[a], offsets[a + 1]
        E = np.empty((stop - start, n_r), dtype=residual.dtype)
        for i in range(stop - start):
            value, source = old[start + i], residual[samples[start + i]]
            for j in range(n_r):
                E[i, j] = source[j] + value * before[k, j]
        _leading_pair(E, steps, signed, values[start:stop], atoms[a])
    for chunk in prange((n_r + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min(n_r, (chunk + 1) * _CHUNK)
        for k in range(len(some)):
            a = some[k]
            for i in range(offsets[a], offsets[a + 1]):
                target, was, now = residual[samples[i]], old[i], values[i]
                for j in range(first, last):
                    target[j] += was * before[k, j] - now * atoms[a, j]
