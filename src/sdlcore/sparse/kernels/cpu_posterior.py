"""The search of posterior codes on the CPU, compiled by numba."""

import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import add_one, parallel

TOGETHER = 8
"""Most latents that one round adds."""
APART = 0.15
"""Largest cosine of two latents that one round adds together."""
ROUNDS, SWEEPS = 60, 4
"""Most rounds of a sample, and most sweeps over its active latents in a round."""
SETTLED, NEGLIGIBLE = 0.02, 0.03
"""Changes of a code, in units of the noise's deviation at the lowest level, below which sweeps end, and below which the
products of silent latents are not updated."""


@parallel
def posterior(
    products: np.ndarray,
    energies: np.ndarray,
    gram: np.ndarray,
    constant: np.ndarray,
    slope: np.ndarray,
    curvature: np.ndarray,
    levels: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
    dimension: int,
    chosen: np.ndarray,
    amounts: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Write the active latents of each row, their codes and their number.

    ``products`` (B x n_q) are inner products of the samples, less the bias, with the dictionary's unit rows. The
    search replaces the samples by residuals there. ``energies`` are the samples' squared norms. At noise level l, a
    latent has the log odds constant[l] + slope[l] a + curvature[l] a^2, where a is its product with the residual
    without it. A round adds the latents with the highest odds, sets all codes to their conditional means, and drops
    latents whose odds are 1 or less. The level follows the residual's energy. A row ends when nothing changes any
    more.
    """
    n_q, most = len(gram), chosen.shape[1]
    unit = np.sqrt(levels[0])
    for r in prange(len(products)):
        a, energy, n = products[r], energies[r], 0
        on = np.zeros(n_q, np.bool_)
        # of each active latent: its code, the code in `products`, and its product with the sample
        at, z = np.empty(most, np.int64), np.empty(most, np.float32)
        told, whole = np.empty(most, np.float32), np.empty(most, np.float32)
        near = np.empty((most, most), np.float32)
        new = np.empty(TOGETHER, np.int64)
        last = -1
        for _ in range(ROUNDS):
            level = 0
            while level + 1 < len(levels) and levels[level] * dimension < energy:
                level += 1
            c0, c1, c2, noise = constant[level], slope[level], curvature[level], levels[level]
            best, first = np.float32(0), -1
            for i in range(n_q):
                odds = c0[i] + a[i] * (c1[i] + a[i] * c2[i])
                if odds > best and a[i] > 0 and not on[i]:
                    best, first = odds, i
            added = 0
            if first >= 0 and n < most:
                new[0], added = first, 1
                for i in range(n_q):
                    odds = c0[i] + a[i] * (c1[i] + a[i] * c2[i])
                    if odds > 0.5 * best and a[i] > 0 and not on[i] and i != first:
                        apart = added < min(TOGETHER, most - n)
                        for j in range(added):
                            apart = apart and abs(gram[i, new[j]]) <= APART
                        if apart:
                            new[added] = i
                            added += 1
            for t in range(added):
                i = new[t]
                own = a[i]
                for j in range(n):
                    near[n, j] = near[j, n] = gram[i, at[j]]
                    own += near[n, j] * told[j]
                near[n, n] = gram[i, i]
                at[n], z[n], told[n], whole[n] = i, 0, 0, own
                on[i] = True
                n += 1
            change = np.float32(0)
            for _sweep in range(SWEEPS):
                change = np.float32(0)
                for j in range(n):
                    i, inner = at[j], whole[j]
                    for k in range(n):
                        if k != j:
                            inner -= near[j, k] * z[k]
                    code = (variances[i] * inner + means[i] * noise) / (variances[i] + noise)
                    if c0[i] + inner * (c1[i] + inner * c2[i]) <= 0 or code <= 0 or inner <= 0:
                        code = np.float32(0)
                    change, z[j] = max(change, abs(code - z[j])), code
                if change <= SETTLED * unit:
                    break
            kept = 0
            for j in range(n):
                moved = z[j] - told[j]
                if abs(moved) > NEGLIGIBLE * unit or (z[j] == 0 and moved != 0):
                    add_one(a, gram[at[j]], -moved)
                    told[j] = z[j]
                if z[j] == 0:
                    on[at[j]] = False
                    continue
                if kept != j:
                    at[kept], z[kept], told[kept], whole[kept] = at[j], z[j], told[j], whole[j]
                    for k in range(n):
                        near[kept, k] = near[j, k]
                    for k in range(n):
                        near[k, kept] = near[k, j]
                kept += 1
            n = kept
            energy = energies[r]
            for j in range(n):
                explained = 2 * whole[j]
                for k in range(n):
                    explained -= near[j, k] * z[k]
                energy -= z[j] * explained
            if not added and change <= SETTLED * unit and level == last:
                break
            last = level
        counts[r] = n
        for j in range(n):
            chosen[r, j], amounts[r, j] = at[j], z[j]
