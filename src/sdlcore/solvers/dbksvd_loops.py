"""Compiled loops of double-batch K-SVD, by numba as in `sdlcore.sparse.kernels.cpu`.

A sample's pursuit and an atom's update are each one thread's, so results do not depend on the number of threads.
"""

from typing import Any

import numba
import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import parallel, serial

# as of the other kernels, and of finite numbers, which searches have checked: only then is a maximum found by lanes
_largest = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)

_BLOCK = 128
"""Products whose largest is found before any of their places is."""
_CHUNK = 128
"""Dimensions of the residual that a thread brings up to date."""
_NOTHING = 1e-8
"""Fall of a sample's error, as a share of its squared norm, that is not worth a pick."""


@_largest
def _step(products: np.ndarray, row: np.ndarray, change: Any, signed: bool) -> int:
    """Take ``change`` times a row of the Gram matrix from the products, and return the place of the largest.

    It is the largest in absolute value where codes may be negative.
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
        Most picks of a sample.
    signed
        Codes may be negative.
    columns, values
        B x s, written: the atoms of a sample, ascending, and their codes, none of them zero.
    counts
        B, written: how many atoms a sample has.
    errors
        B squared norms of the samples; written: what the codes leave of them.
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
                # a code may fall to zero, where it may not fall further
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
        # by atoms, without those whose code has come to zero
        kept = 0
        for i in range(n):
            atom, code = atoms[i], codes[i]
            if code == 0:
                continue
            j = kept
            while j > 0 and atoms[j - 1] > atom:
                atoms[j], codes[j] = atoms[j - 1], codes[j - 1]
                j -= 1
            atoms[j], codes[j] = atom, code
            kept += 1
        counts[r] = kept


@serial
def _leading_pair(E: np.ndarray, steps: int, signed: bool, g: np.ndarray, d: np.ndarray) -> None:
    """Bring codes g (m) and unit atom d nearer to the pair whose product is nearest to E (m x n_r)."""
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
    """Update some atoms and their codes by one residual, then the residual by all of them.

    Parameters
    ----------
    some
        Which atoms.
    offsets, samples
        The pattern by atoms: atom a is used by ``samples[offsets[a]:offsets[a + 1]]``.
    steps
        Of the power method.
    signed
        Codes may be negative.
    atoms
        K x n_r unit rows; those of ``some`` are overwritten.
    values
        Codes, by atoms like the samples; those of ``some`` are overwritten.
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
