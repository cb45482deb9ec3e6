"""Theorem 3.2: within a region of fixed activation pattern the approximate loss is convex in each block of weights."""

from typing import NamedTuple

import numpy as np
import torch

from sdlcore.study.theory.landscape import Problem, Weights, approximate_loss, pattern


class Curvature(NamedTuple):
    """Second derivatives of eq. (11) at a point, its pattern held fixed."""

    least_decoder: float
    """Least eigenvalue of the Hessian in W_D (eq. 46)."""
    least_encoder: float
    """Least eigenvalue of the Hessian in W_E."""
    least_joint: float
    """Least eigenvalue of the Hessian in both."""
    off_diagonal: float
    """Largest entry, in absolute value, of the Hessian in W_E between rows of two different latents."""


def pattern_loss(W_enc: torch.Tensor, W_dec: torch.Tensor, active: np.ndarray, problem: Problem) -> torch.Tensor:
    """Return eq. (11) with the codes that a pattern makes linear in W_E (eq. 41).

    Parameters
    ----------
    W_enc, W_dec
        n_q x n_p and n_q x n_r, float64.
    active
        n_q x n booleans.
    """
    z_QD = torch.from_numpy(active.astype(float)) * (W_enc @ torch.from_numpy(problem.W_p))
    errors = torch.from_numpy(problem.W_r) - W_dec.T @ z_QD
    return torch.from_numpy(problem.M) @ errors.square().sum(0)


def hessian(weights: Weights, problem: Problem) -> np.ndarray:
    """Return the joint Hessian of `pattern_loss`, W_E first, rows of latents one after the other."""
    active = pattern(weights.W_enc, problem)
    shape, size = weights.W_enc.shape, weights.W_enc.size

    def of(flat: torch.Tensor) -> torch.Tensor:
        return pattern_loss(flat[:size].view(shape), flat[size:].view(len(active), -1), active, problem)

    flat = torch.from_numpy(np.concatenate([weights.W_enc.ravel(), weights.W_dec.ravel()]))
    return torch.autograd.functional.hessian(of, flat).numpy()


def curvature(weights: Weights, problem: Problem) -> Curvature:
    """Return what the Hessian says of Theorem 3.2 and of its proof."""
    joint = hessian(weights, problem)
    n_q, n_p = weights.W_enc.shape
    encoder = joint[: n_q * n_p, : n_q * n_p]
    blocks = np.abs(encoder.reshape(n_q, n_p, n_q, n_p)).max(axis=(1, 3))
    np.fill_diagonal(blocks, 0.0)
    least = [float(np.linalg.eigvalsh(part)[0]) for part in (joint[n_q * n_p :, n_q * n_p :], encoder, joint)]
    return Curvature(least[0], least[1], least[2], float(blocks.max()))


def encoder_hessian(weights: Weights, problem: Problem) -> np.ndarray:
    """Return the Hessian in W_E by its formula, n_q n_p x n_q n_p.

    2 sum_d M_d (V_d V_d^T) kron (w_p^d w_p^d^T), where row i of V_d is the decoder column of latent i if feature d
    activates it and zero if not: psd, with a block between any two latents that a feature activates together and whose
    decoder columns are not orthogonal. The paper's proof (eq. 50) has the diagonal blocks only.
    """
    active = pattern(weights.W_enc, problem)
    size = weights.W_enc.size
    total = np.zeros((size, size))
    for d in range(problem.n):
        V = weights.W_dec * active[:, [d]]
        w = problem.W_p[:, d]
        total += 2 * problem.M[d] * np.kron(V @ V.T, np.outer(w, w))
    return total


def bend(ends: tuple[float, float], middle: float) -> float:
    """Return how far a function's value at the middle lies above the mean of its values at the ends."""
    return middle - sum(ends) / 2


def largest_bend(weights: Weights, problem: Problem, rng: np.random.Generator, tries: int = 20) -> float:
    """Return the largest `bend` of eq. (11) over segments in one block of weights that stay in the region of W_E.

    The loss is that of sigma itself, no pattern held fixed; segments whose other end is in another region are passed
    over. Regions are convex, so that the middle needs no check (it is made all the same).
    """
    active = pattern(weights.W_enc, problem)
    worst = -np.inf
    for _ in range(tries):
        W_dec = weights.W_dec + rng.standard_normal(weights.W_dec.shape)
        W_enc = weights.W_enc + rng.exponential(0.3) * rng.standard_normal(weights.W_enc.shape)
        others = [Weights(weights.W_enc, W_dec)]
        if (pattern(W_enc, problem) == active).all():
            others.append(Weights(W_enc, weights.W_dec))
        for other in others:
            middle = Weights((weights.W_enc + other.W_enc) / 2, (weights.W_dec + other.W_dec) / 2)
            if (pattern(middle.W_enc, problem) != active).any():
                return np.inf
            ends = approximate_loss(weights, problem), approximate_loss(other, problem)
            worst = max(worst, bend(ends, approximate_loss(middle, problem)))
    return float(worst)


def common_threshold(weights: Weights, problem: Problem) -> float | None:
    """Return a c >= 0 such that z 1(z > c) is what sigma makes of every single feature; None if there is none."""
    z_QD = weights.W_enc @ problem.W_p
    kept = pattern(weights.W_enc, problem)
    low = max(float(z_QD[~kept].max(initial=0.0)), 0.0)
    return low if low < z_QD[kept].min(initial=np.inf) else None


def common_pattern(one: Weights, other: Weights, problem: Problem) -> bool:
    """Tell whether two encoders lie in the same region of Theorem 3.2."""
    return bool((pattern(one.W_enc, problem) == pattern(other.W_enc, problem)).all())
