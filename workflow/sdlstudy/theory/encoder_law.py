"""The law of encoder rows: the cosine of a linear read-out with its feature.

The encoder row that reads a feature best is not the feature itself, unless weights are tied. The cosine of this row
with the feature depends only on the numbers of features and dimensions, and on noise.

Assumptions
-----------
A sample is y = W x + noise. The n features w_d (columns of W, n_p x n) are unit vectors of random directions; n and
n_p are large. The x_d are uncorrelated and of equal variance v. Noise is white; its variance, as a share of the mean
variance of a coordinate of W x, is t. As W W^T has the mean eigenvalue n / n_p, the noise has the variance v s with
s = t n / n_p. A ridge on the covariance has the same effect as noise of that share.

Derivation
----------
1. The least-squares read-out of x_d is r = (W W^T + s I)^-1 w_d: the inverse of the covariance of y, times the
   covariance of y and x_d.
2. Leave the feature out. With R = (sum over i != d of w_i w_i^T + s I)^-1, the formula of Sherman and Morrison gives
   r = R w_d / (1 + q), q = w_d^T R w_d. So r is parallel to R w_d, and R does not depend on w_d. This step is exact.
3. Hence cos(r, w_d)^2 = (w_d^T R w_d)^2 / (w_d^T R^2 w_d). As w_d is independent of R, both products are nearly traces:
   (tr R / n_p)^2 / (tr R^2 / n_p).
4. Eigenvalues of (n_p / n) W W^T have the distribution of Marchenko and Pastur (1967) with ratio g = n_p / n. Its
   Stieltjes transform m(z) solves g z m^2 - (1 - g - z) m + 1 = 0. Scale drops out of the cosine, so that it is
   m(-t)^2 / m'(-t).
5. With D = (1 - g + t)^2 + 4 g t the positive root is m = (sqrt(D) - (1 - g + t)) / (2 g t), and implicit
   differentiation gives m' = m (1 + g m) / sqrt(D). So cos^2 = m sqrt(D) / (1 + g m).
6. Without noise m = 1 / (1 - g) and m' = 1 / (1 - g)^3 for n > n_p: **cos^2 = 1 - n_p / n**. For n <= n_p the row is
   the component of w_d outside the span of the others, and cos^2 = 1 - n / n_p.

The inner product of r with w_d is q / (1 + q), q = g m(-t): n_p / n without noise. In a sparse code, a row must be
right only for samples that activate its feature. In these samples the feature's second moment is 1 / P(active) times
as large, and the others' stay the same. By step 2 this changes the length of r but not its direction: the inner
product becomes q / (q + P(active)), which is nearly 1.

A regression on N samples adds an error to the row, which changes its direction. With the residual variance v / (1 + q),
the error has an expected square of q / (1 + q) n_p / (N - n_p), and |r|^2 = g^2 m' / (1 + q)^2. Their ratio is
n_p sqrt(D) / (g (N - n_p)), without noise n_p (1 - g) / (g (N - n_p)); cos^2 is divided by 1 plus that.

Limits
------
- Near n = n_p the law gives 0. A finite n, a ridge or a little noise leads to a larger cosine.
- For clustered directions the cosine is lower: the law assumes random directions. The paper's bench pushes its
  features apart, which raises the cosine a little.
- Correlated activities and unequal variances hardly matter without noise. With noise they do.
- The law does not apply to a dictionary that misses features, or is not at its least-squares solution.
- Under heavy noise the law holds and the cosine goes to 1, but no method finds the features any longer.
- The law does not apply to tied weights, where each row equals its decoder column.
"""

import math

import numpy as np

from sdlcore.evaluation.recovery import normalise_rows


def law(n: float, n_p: float, noise: float = 0.0, samples: float = math.inf) -> float:
    """Return the cosine of a linear read-out with its feature.

    Parameters
    ----------
    n, n_p
        Number of features; dimensions.
    noise
        t: variance of the noise, or ridge, as a share of the mean variance of a coordinate.
    samples
        Number of samples of the regression that computes the read-out, above n_p.
    """
    ratio = n_p / n
    if noise == 0:
        cosine = math.sqrt(1 - min(ratio, 1 / ratio))
        # |error|^2 / |row|^2 of the row, times samples - n_p
        error = n_p * max(1 - ratio, 0.0) / ratio
    else:
        m, root = _stieltjes(ratio, noise)
        cosine = math.sqrt(m * root / (1 + ratio * m))
        error = n_p * root / ratio
    return cosine / math.sqrt(1 + error / (samples - n_p))


def gain(n: float, n_p: float, noise: float = 0.0, active: float = 1.0) -> float:
    """Return the inner product of a read-out with its feature: the code that the feature alone produces.

    Parameters
    ----------
    n, n_p, noise
        See `law`.
    active
        P(active) for a row that is fitted to the samples with its feature active; 1 for a fit to all samples.
    """
    ratio = n_p / n
    if noise == 0:
        # q = g / (1 - g) for n > n_p, and infinite for n <= n_p
        return ratio / (ratio + active * (1 - ratio)) if ratio < 1 else 1.0
    q = ratio * _stieltjes(ratio, noise)[0]
    return q / (q + active)


def _stieltjes(ratio: float, t: float) -> tuple[float, float]:
    """Return m(-t) and sqrt(D) of the distribution of Marchenko and Pastur with ratio n_p / n, for t > 0."""
    b = 1 - ratio + t
    root = float(np.sqrt(b * b + 4 * ratio * t))
    # two forms of the same root, since one suffers from cancellation for small t
    return (2 / (b + root) if b > 0 else (root - b) / (2 * ratio * t)), root


def read_outs(W: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Return the least-squares read-out of each feature, n x n_p.

    Parameters
    ----------
    W
        n_p x n features.
    noise
        See `law`.

    Returns
    -------
    The rows. Without noise, several read-outs may be least-squares solutions; then the shortest are returned.
    """
    n_p, n = W.shape
    return np.linalg.lstsq(W @ W.T + noise * n / n_p * np.eye(n_p), W, rcond=None)[0].T


def own_products(rows: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return the inner product of row d (n x n_p) with feature d (n_p x n), for each d."""
    return np.einsum("dp,pd->d", rows, W)


def own_cosines(rows: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return the cosine of row d (n x n_p) with unit feature d (n_p x n), for each d; 0 for rows of zeros."""
    return own_products(normalise_rows(rows), W)
