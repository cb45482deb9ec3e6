"""The search of posterior codes on the CPU, compiled by numba."""

import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import add_entries, parallel
from sdlcore.sparse.kernels.cpu_select import find_above

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
    """Write the active latents of each of B samples, their codes and their number.

    A round adds the inactive latents with the highest log odds, up to `TOGETHER` nearly orthogonal ones. It then sets
    all codes to their conditional means, and drops latents whose log odds are 0 or less. A sample ends when a round
    changes nothing, or after `ROUNDS` rounds. At noise level l, the log odds of latent i are
    constant[l, i] + slope[l, i] a + curvature[l, i] a^2, where a is its inner product with the residual of the others.

    Parameters
    ----------
    products
        Inner products of the samples, less the decoder's bias, with the dictionary's unit rows (B x n_q). On
        return, nearly the residuals' inner products: small changes of codes are left out.
    energies
        Squared norms of the samples, less the bias (B).
    gram
        Cosines of the rows with each other (n_q x n_q).
    constant, slope, curvature
        Coefficients of the log odds (levels x n_q).
    levels
        Noise variances of a dimension, ascending. A round uses the first level that is not below the residual's mean
        square, or the last one.
    means, variances
        Mean and variance of each latent's codes where it is active (n_q).
    dimension
        Number of dimensions of a sample.
    chosen, amounts, counts
        Outputs: the active latents, their codes (B x the most active latents) and their number (B).
    """
    n_q, most = len(gram), chosen.shape[1]
    unit, zero = np.sqrt(levels[0]), np.float32(0)
    for r in prange(len(products)):
        a, energy, n = products[r], energies[r], 0
        is_active = np.zeros(n_q, np.bool_)
        log_odds, likely = np.empty(n_q, np.float32), np.empty(n_q, np.int32)
        # of each active latent: its code, the code that was subtracted from `products`, its product with the sample
        active, z = np.empty(most, np.int64), np.empty(most, np.float32)
        subtracted, with_sample = np.empty(most, np.float32), np.empty(most, np.float32)
        moved_latents, moved_by = np.empty(most, np.int64), np.empty(most, np.float32)
        cosines = np.empty((most, most), np.float32)
        added_latents = np.empty(TOGETHER, np.int64)
        last = -1
        for _ in range(ROUNDS):
            level = 0
            while level + 1 < len(levels) and levels[level] * dimension < energy:
                level += 1
            c0, c1, c2, noise = constant[level], slope[level], curvature[level], levels[level]
            # find the latent with the highest log odds, and others with rows nearly orthogonal to it and to each other
            for i in range(n_q):
                log_odds[i] = c0[i] + a[i] * (c1[i] + a[i] * c2[i])
            n_likely = find_above(log_odds, zero, likely)
            best, first = zero, -1
            for t in range(n_likely):
                i = likely[t]
                if log_odds[i] > best and a[i] > 0 and not is_active[i]:
                    best, first = log_odds[i], i
            added = 0
            if first >= 0 and n < most:
                added_latents[0], added = first, 1
                for t in range(n_likely):
                    i = likely[t]
                    if log_odds[i] > 0.5 * best and a[i] > 0 and not is_active[i] and i != first:
                        apart = added < min(TOGETHER, most - n)
                        for j in range(added):
                            apart = apart and abs(gram[i, added_latents[j]]) <= APART
                        if apart:
                            added_latents[added] = i
                            added += 1
            for t in range(added):
                i = added_latents[t]
                product = a[i]
                for j in range(n):
                    cosines[n, j] = cosines[j, n] = gram[i, active[j]]
                    product += cosines[n, j] * subtracted[j]
                cosines[n, n] = gram[i, i]
                active[n], z[n], subtracted[n], with_sample[n] = i, 0, 0, product
                is_active[i] = True
                n += 1
            # set codes to their conditional means
            change = np.float32(0)
            for _sweep in range(SWEEPS):
                change = np.float32(0)
                for j in range(n):
                    i, inner = active[j], with_sample[j]
                    for k in range(n):
                        if k != j:
                            inner -= cosines[j, k] * z[k]
                    code = (variances[i] * inner + means[i] * noise) / (variances[i] + noise)
                    if c0[i] + inner * (c1[i] + inner * c2[i]) <= 0 or code <= 0 or inner <= 0:
                        code = np.float32(0)
                    change, z[j] = max(change, abs(code - z[j])), code
                if change <= SETTLED * unit:
                    break
            # update the products, and drop silent latents
            n_active = n_moved = 0
            for j in range(n):
                change_j = z[j] - subtracted[j]
                if abs(change_j) > NEGLIGIBLE * unit or (z[j] == 0 and change_j != 0):
                    moved_latents[n_moved], moved_by[n_moved] = active[j], -change_j
                    subtracted[j], n_moved = z[j], n_moved + 1
                if z[j] == 0:
                    is_active[active[j]] = False
                    continue
                if n_active != j:
                    active[n_active], z[n_active] = active[j], z[j]
                    subtracted[n_active], with_sample[n_active] = subtracted[j], with_sample[j]
                    for k in range(n):
                        cosines[n_active, k] = cosines[j, k]
                    for k in range(n):
                        cosines[k, n_active] = cosines[k, j]
                n_active += 1
            n = n_active
            add_entries(a, moved_latents[:n_moved], moved_by[:n_moved], gram)
            energy = energies[r]
            for j in range(n):
                explained = 2 * with_sample[j]
                for k in range(n):
                    explained -= cosines[j, k] * z[k]
                energy -= z[j] * explained
            if not added and change <= SETTLED * unit and level == last:
                break
            last = level
        counts[r] = n
        for j in range(n):
            chosen[r, j], amounts[r, j] = active[j], z[j]
