"""Numba loops of the solvers over active atoms, compiled as in `sdlcore.sparse.kernels.cpu`.

One thread computes each row of an output in a fixed order, so results do not depend on the number of threads.
Patterns are stored as compressed sparse rows: the atoms of sample r are ``columns[offsets[r]:offsets[r + 1]]``.
"""

import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import parallel, serial

_SINGULAR = 1e-5
"""Squared distance of an atom from the span of others below which it counts as zero."""


@serial
def _worth(G: np.ndarray, values: np.ndarray, worth: np.ndarray) -> None:
    """Write c_i^2 / (G^-1)_ii over the active entries, zero elsewhere.

    1 / (G^-1)_ii is the squared distance of atom i from the span of the others. ``G`` is overwritten.
    """
    active = np.empty(len(values), dtype=np.int64)
    n = 0
    for i in range(len(values)):
        worth[i] = 0
        if values[i] > 0:
            active[n] = i
            n += 1
    # Cholesky G = L L^T in the lower triangle, inverted in place; squared column norms of L^-1 are the diagonal of G^-1
    for j in range(n):
        for i in range(n):
            if i <= j:
                G[i, j] = G[active[i], active[j]]
    for j in range(n):
        for i in range(j):
            G[j, i] = G[i, j]
    for j in range(n):
        pivot = G[j, j]
        for k in range(j):
            pivot -= G[j, k] * G[j, k]
        pivot = np.sqrt(max(pivot, G.dtype.type(_SINGULAR)))
        G[j, j] = pivot
        for i in range(j + 1, n):
            total = G[i, j]
            for k in range(j):
                total -= G[i, k] * G[j, k]
            G[i, j] = total / pivot
    for j in range(n):
        G[j, j] = 1 / G[j, j]
        norm = G[j, j] * G[j, j]
        for i in range(j + 1, n):
            total = G.dtype.type(0)
            for k in range(j, i):
                total -= G[i, k] * G[k, j]
            G[i, j] = total / G[i, i]
            norm += G[i, j] * G[i, j]
        worth[active[j]] = values[active[j]] * values[active[j]] / norm


@parallel
def coordinate_descent(
    offsets: np.ndarray,
    columns: np.ndarray,
    gram: np.ndarray,
    correlations: np.ndarray,
    sweeps: int,
    stride: int,
    values: np.ndarray,
    worth: np.ndarray,
    objective: np.ndarray,
) -> None:
    """Minimise c^T G c / 2 - b^T c over c >= 0 for each sample, one coefficient after the other.

    Parameters
    ----------
    offsets, columns
        Support of each of B samples, as compressed sparse rows.
    gram
        K x K inner products of the atoms.
    correlations
        b: inner products of a sample with the atoms of its support (N).
    sweeps
        Number of passes over each sample's coefficients.
    stride
        ``worth`` is computed for one sample in ``stride``, and is zero for the others.
    values
        Initial codes; overwritten with the result (N).
    worth
        N, written: how much the error of its sample would grow without this atom, after the other active atoms adjust.
    objective
        B, written: the objective reached.
    """
    for r in prange(len(offsets) - 1):
        start, m = offsets[r], offsets[r + 1] - offsets[r]
        G = np.empty((m, m), dtype=gram.dtype)
        slope = np.empty(m, dtype=gram.dtype)
        for i in range(m):
            row = gram[columns[start + i]]
            for j in range(m):
                G[i, j] = row[columns[start + j]]
        for i in range(m):
            slope[i] = correlations[start + i]
        for i in range(m):
            value = values[start + i]
            if value != 0:
                for j in range(m):
                    slope[j] -= value * G[i, j]
        for _ in range(sweeps):
            for i in range(m):
                old = values[start + i]
                new = max(old + slope[i] / G[i, i], gram.dtype.type(0))
                change = new - old
                if change != 0:
                    values[start + i] = new
                    for j in range(m):
                        slope[j] -= change * G[i, j]
        reached = 0.0
        for i in range(m):
            reached -= 0.5 * values[start + i] * (correlations[start + i] + slope[i])
        objective[r] = reached
        if r % stride == 0:
            _worth(G, values[start : start + m], worth[start : start + m])
        else:
            worth[start : start + m] = 0


@parallel
def add_outer(
    atom_offsets: np.ndarray,
    samples: np.ndarray,
    order: np.ndarray,
    offsets: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add codes^T codes to ``out`` (K x K), one atom after the other.

    Parameters
    ----------
    atom_offsets, samples, order
        The pattern by atoms, from `sdlcore.sparse.kernels.cpu.transpose`.
    offsets, columns, values
        The same pattern by samples, with the codes.
    out
        K x K; codes^T codes is added to it.
    """
    for a in prange(len(atom_offsets) - 1):
        row = out[a]
        for i in range(atom_offsets[a], atom_offsets[a + 1]):
            value = values[order[i]]
            if value == 0:
                continue
            r = samples[i]
            for j in range(offsets[r], offsets[r + 1]):
                row[columns[j]] += value * values[j]
