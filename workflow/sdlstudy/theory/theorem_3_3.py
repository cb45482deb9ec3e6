"""Theorem 3.3 of version 3: the ground truth loses little.

With n_q >= n and sigma(z)_i in {0, z_i}, W_D = [W_r, 0] and W_E = [W_p^T; 0] have L~ = O((1 - S) M^2), with M the
largest inner product of two features. The later revision states L~ <= n^2 M^2 sum_d M_d there.

Where |w_r^d| = 1 and each feature activates its own latent, the error of feature d is at most M (K_d - 1), with K_d the
number of latents that d activates, so L~ <= M^2 sum_d M_d (K_d - 1)^2 (eq. 64), and K_d <= n gives the later bound.
With a threshold c from M to below 1, K_d = 1 and L~ = 0.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sdlcore.benches.lrb import feature_matrix
from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, autoencoder, residuals
from sdlstudy.theory.claims import Result, share
from sdlstudy.theory.landscape import ACTIVATIONS, pattern, random_problem, unit_columns

NEARLY_ZERO = 1e-12
"""Losses below this count as zero."""
SIZES = [50, 100, 200, 400, 800]
RATIO = 0.768
"""n_p / n of the paper's bench."""
PAIR = np.array([[1, 0.6], [0, 0.8]])
"""Two features with inner product .6."""


def ground_truth(problem: Problem, spare: int = 0) -> Weights:
    """Return the ground truth W_D = [W_r, 0] and W_E = [W_p^T; 0] (eq. 14), with ``spare`` latents of zeros."""
    return Weights(*(np.vstack([W.T, np.zeros((spare, len(W)))]) for W in (problem.W_p, problem.W_r)))


def interference(W: np.ndarray) -> float:
    """Return M, the largest inner product of two columns (Assumption 2.4)."""
    return float((W.T @ W)[~np.eye(W.shape[1], dtype=bool)].max())


def thresholded(problem: Problem) -> Problem:
    """Return the problem with threshold c = M, at least .001, raised slightly to allow for rounding of products."""
    return replace(problem, threshold=max(interference(problem.W_p), 1e-3) * (1 + 1e-12), k=None)


def basis_with_opposite(A: np.ndarray) -> Weights:
    """Return W_E = [A; -A] and W_D = [A^-1, -A^-1], which reproduce every input under ReLU; A is invertible."""
    inverse = np.linalg.inv(A).T
    return Weights(np.vstack([A, -A]), np.vstack([inverse, -inverse]))


class GroundTruth(NamedTuple):
    """Both sides of Theorem 3.3: the loss at the ground truth, and its bound."""

    loss: float
    """L~ at the ground truth."""
    bound: float
    """M^2 sum_d M_d (K_d - 1)^2 (eq. 64)."""
    active: np.ndarray
    """K_d (n)."""
    errors: np.ndarray
    """|| w_r^d - W_D sigma(W_E w_p^d) || (n)."""
    interference: float
    """M."""


def at_ground_truth(problem: Problem) -> GroundTruth:
    """Return both sides of Theorem 3.3 for a problem."""
    weights, M = ground_truth(problem), interference(problem.W_p)
    active = pattern(weights.W_enc, problem).sum(axis=0)
    bound = float(M**2 * problem.M @ np.square(active - 1.0))
    errors = np.linalg.norm(residuals(weights, problem), axis=0)
    return GroundTruth(approximate_loss(weights, problem), bound, active, errors, M)


def own_latents_active(problem: Problem) -> bool:
    """Return whether each feature activates its own latent of the ground truth, and M is not negative."""
    active = np.diag(pattern(problem.W_p.T, problem)).all()
    return bool(active) and interference(problem.W_p) >= 0


def _growth(values: list[float]) -> float:
    """Return the exponent of a power law in n, fitted to values at `SIZES`."""
    return float(np.polyfit(np.log(SIZES), np.log(values), 1)[0])


def growing(rng: np.random.Generator) -> list[GroundTruth]:
    """Return the ground truths of random autoencoders with `SIZES` features; M_d = 1, as M_d / (1 - S) for S to 1."""
    return [at_ground_truth(autoencoder(unit_columns(round(RATIO * n), n, rng))) for n in SIZES]


def check(truths: list[GroundTruth], bench: GroundTruth, rng: np.random.Generator) -> list[Result]:
    """Check version 3's theorem and its proof."""
    return [_order(truths), _active(truths, bench, rng), _weights(), _error(rng), _any_sigma(rng), _global(rng)]


def paper_bench(rng: np.random.Generator) -> GroundTruth:
    """Return the ground truth of the paper's bench, with M_d = 1."""
    return at_ground_truth(autoencoder(feature_matrix(768, 1000, rng).W.astype(float)))


def _order(truths: list[GroundTruth]) -> Result:
    constants = [each.loss / each.interference**2 for each in truths]
    limits = [each.bound / each.interference**2 for each in truths]
    return Result(
        "theorem_3_3.order",
        [constant > 2 * constants[0] for constant in constants[1:]],
        observed=[_growth(constants), ", ".join(f"{constant:.3g}" for constant in constants)],
        counterexample=[SIZES[-1], constants[-1], constants[-1] / constants[0], SIZES[0]],
        false_then=[
            each.loss > each.bound or limit > n * (n - 1) ** 2
            for n, each, limit in zip(SIZES, truths, limits, strict=True)
        ],
    )


def _active(truths: list[GroundTruth], bench: GroundTruth, rng: np.random.Generator) -> Result:
    # the paper says "typically" and "for most features", which a median tests and a few features cannot contradict
    median = [float(np.median(each.active) - 1) for each in truths]
    silent = []
    for _ in range(60):
        each = at_ground_truth(thresholded(autoencoder(unit_columns(int(rng.integers(4, 12)), 12, rng))))
        silent.append(each.interference < 1 and bool((each.active == 1).all()) and each.loss < NEARLY_ZERO)
    return Result(
        "theorem_3_3.active",
        [value > 2 * median[0] for value in median[1:]],
        observed=[_growth(median)],
        counterexample=[
            bench.interference,
            bench.active.min() - 1,
            bench.active.max() - 1,
            np.median(bench.active) - 1,
        ],
        false_then=[not good for good in silent],
    )


def _weights() -> Result:
    # independent features of magnitude 1
    sums = {(n, q): n * q * (1 - q) ** (n - 1) for n in (2, 3, 10, 100, 1000) for q in (0.1, 0.01, 1e-3, 1e-4)}
    return Result(
        "theorem_3_3.weights",
        [abs(total / q - 1) > 0.1 for (_, q), total in sums.items()],
        observed=[max((total / q for (_, q), total in sums.items()))],
        counterexample=[sums[1000, 0.0001]],
        false_then=[total > n * q * (1 + 1e-12) for (n, q), total in sums.items()],
    )


def _error(rng: np.random.Generator, instances: int = 120) -> Result:
    def broken(problem: Problem, W_r: np.ndarray) -> bool:
        truth = at_ground_truth(replace(problem, W_r=W_r))
        # eq. (57) to (59) assume that each feature activates its own latent
        return own_latents_active(problem) and bool(
            (truth.errors > truth.interference * (truth.active - 1) + 1e-9).any()
        )

    false, unit = [], []
    for i in range(instances):
        problem, _ = random_problem(rng, ACTIVATIONS[i % 3])
        W_r = problem.W_r * rng.uniform(0.2, 5, problem.n)
        false.append(broken(problem, W_r))
        unit.append(broken(problem, W_r / np.linalg.norm(W_r, axis=0)))
    example = at_ground_truth(Problem(PAIR, 10 * np.eye(2), np.ones(2)))
    return Result(
        "theorem_3_3.error",
        false,
        observed=[share(false)],
        counterexample=[example.errors[0], example.interference * (example.active[0] - 1)],
        false_then=unit,
    )


def _any_sigma(rng: np.random.Generator, instances: int = 60) -> Result:
    false, below = [], []
    for _ in range(instances):
        problem = autoencoder(np.linalg.qr(rng.standard_normal((5, 5)))[0])
        thresholds = float(rng.uniform(0, 2)), float(rng.uniform(1e-6, 1 - 1e-6))
        lost = [at_ground_truth(replace(problem, threshold=c)).loss > 1e-9 for c in thresholds]
        false.append(lost[0])
        below.append(lost[1])
    return Result(
        "theorem_3_3.any_sigma",
        false,
        observed=[share(false)],
        counterexample=[at_ground_truth(autoencoder(np.eye(5), threshold=1.0)).loss],
        false_then=below,
    )


def _global(rng: np.random.Generator, instances: int = 60) -> Result:
    losses, better, lost = [], [], []
    for _ in range(instances):
        n_p = int(rng.integers(2, 8))
        problem = autoencoder(unit_columns(n_p, int(rng.integers(n_p, 2 * n_p + 1)), rng))
        losses.append(at_ground_truth(problem).loss)
        other = approximate_loss(basis_with_opposite(rng.standard_normal((n_p, n_p))), problem)
        better.append(other < losses[-1] - 1e-9)
        lost.append(at_ground_truth(thresholded(problem)).loss > NEARLY_ZERO)
    example = autoencoder(PAIR)
    return Result(
        "theorem_3_3.global",
        better,
        observed=[np.median(losses), share(better)],
        counterexample=[at_ground_truth(example).loss, approximate_loss(basis_with_opposite(np.eye(2)), example)],
        false_then=lost,
    )


def bound(problem: Problem) -> float:
    """Return n^2 M^2 sum_d M_d."""
    return float((problem.n * interference(problem.W_p)) ** 2 * problem.M.sum())


def exceeds(problem: Problem) -> bool:
    """Return whether L~ at the ground truth is above the bound."""
    return at_ground_truth(problem).loss > bound(problem) + 1e-9


def _nearly_orthonormal(rng: np.random.Generator, n: int = 5) -> Problem:
    """Draw an autoencoder with nearly orthonormal features, n M < 1."""
    while True:
        W = np.eye(n) + rng.uniform(0, 0.1) * rng.standard_normal((n, n))
        problem = autoencoder(W / np.linalg.norm(W, axis=0), rng.uniform(0.2, 2, n))
        if 0 < n * interference(problem.W_p) < 1:
            return problem


def check_later(rng: np.random.Generator, instances: int = 180) -> Result:
    """Check the later revision's bound."""
    long, unit = [], []
    for i in range(instances):
        problem, _ = random_problem(rng, ACTIVATIONS[i % 3])
        if own_latents_active(problem):
            W_r = problem.W_r * rng.uniform(0.2, 5, problem.n)
            long.append(exceeds(replace(problem, W_r=W_r)))
            unit.append(problem)
    silent = []
    for _ in unit:
        problem = _nearly_orthonormal(rng)
        silent.append(exceeds(replace(problem, threshold=float(rng.uniform(1, 2)))))
    reached = max(at_ground_truth(each).loss / bound(each) for each in unit)
    example = Problem(PAIR, 10 * np.eye(2), np.ones(2))
    loss = at_ground_truth(example).loss
    return Result(
        "theorem_3_3.bound",
        long + silent,
        observed=[share(long), share(silent), reached],
        counterexample=[loss, bound(example)],
        false_then=[exceeds(each) for each in unit],
    )
