"""Theorem 3.2: the approximate loss is biconvex where the activation pattern is fixed.

In the region of encoders with one activation pattern, L~ is convex in W_D for fixed W_E, and in W_E for fixed W_D.
Section 2.4 defines regions by one threshold c, with sigma(z) = z 1(z > c).

The Hessian in W_E is 2 sum_d M_d (V_d V_d^T) kron (w_p^d w_p^d^T), where row i of V_d is the decoder column of latent i
if feature d activates it and zero if not. That is positive semidefinite, which proves the theorem.
"""

from typing import NamedTuple

import numpy as np
import torch

from sdlstudy.theory.approximate_loss import Problem, Weights, activate, approximate_loss, autoencoder
from sdlstudy.theory.claims import Result, share
from sdlstudy.theory.exact_loss import ONE, States, independent, state_errors
from sdlstudy.theory.landscape import ACTIVATIONS, pattern, random_problem
from sdlstudy.theory.theorem_3_1 import Drawn

TOLERANCE = 1e-8
Instances = list[tuple[Problem, Weights]]


class Curvature(NamedTuple):
    """Second derivatives of L~ at a point, its pattern held fixed, by automatic differentiation."""

    least_decoder: float
    """Least eigenvalue of the Hessian in W_D."""
    least_encoder: float
    """Least eigenvalue of the Hessian in W_E."""
    least_joint: float
    """Least eigenvalue of the Hessian in both."""
    encoder: np.ndarray
    """The Hessian in W_E, n_q n_p x n_q n_p."""

    def coupling(self, n_q: int) -> float:
        """Return the largest entry, in absolute value, of the Hessian in W_E between rows of two latents."""
        n_p = len(self.encoder) // n_q
        blocks = np.abs(self.encoder.reshape(n_q, n_p, n_q, n_p)).max(axis=(1, 3))
        np.fill_diagonal(blocks, 0.0)
        return float(blocks.max())


def curvature(weights: Weights, problem: Problem) -> Curvature:
    """Differentiate L~ with the pattern of a dictionary held fixed."""
    active = torch.from_numpy(pattern(weights.W_enc, problem).astype(float))
    W_p, W_r, M = map(torch.from_numpy, (problem.W_p, problem.W_r, problem.M))
    shape, size = weights.W_enc.shape, weights.W_enc.size

    def loss(flat: torch.Tensor) -> torch.Tensor:
        W_enc, W_dec = flat[:size].view(shape), flat[size:].view(len(active), -1)
        return M @ (W_r - W_dec.T @ (active * (W_enc @ W_p))).square().sum(0)

    flat = torch.from_numpy(np.concatenate([weights.W_enc.ravel(), weights.W_dec.ravel()]))
    joint = torch.autograd.functional.hessian(loss, flat).numpy()
    encoder = joint[:size, :size]
    least = [float(np.linalg.eigvalsh(part)[0]) for part in (joint[size:, size:], encoder, joint)]
    return Curvature(least[0], least[1], least[2], encoder)


def encoder_hessian(weights: Weights, problem: Problem) -> np.ndarray:
    """Return the Hessian in W_E by the formula above, n_q n_p x n_q n_p."""
    active, size = pattern(weights.W_enc, problem), weights.W_enc.size
    total = np.zeros((size, size))
    for d in range(problem.n):
        V, w = weights.W_dec * active[:, [d]], problem.W_p[:, d]
        total += 2 * problem.M[d] * np.kron(V @ V.T, np.outer(w, w))
    return total


def _half(first: Weights, second: Weights) -> Weights:
    return Weights((first.W_enc + second.W_enc) / 2, (first.W_dec + second.W_dec) / 2)


def largest_bend(weights: Weights, problem: Problem, rng: np.random.Generator, tries: int = 20) -> float:
    """Return the largest excess of L~ at the middle of a segment over the mean of its ends, among random segments.

    A segment changes one block, W_D or W_E. The pattern of active latents may change along a segment. Segments whose
    other end is in another region are left out. Regions are convex, so a middle in another region would contradict the
    theorem: the result is then infinite.
    """
    active = pattern(weights.W_enc, problem)
    worst = -np.inf
    for _ in range(tries):
        others = [Weights(weights.W_enc, weights.W_dec + rng.standard_normal(weights.W_dec.shape))]
        W_enc = weights.W_enc + rng.exponential(0.3) * rng.standard_normal(weights.W_enc.shape)
        if (pattern(W_enc, problem) == active).all():
            others.append(Weights(W_enc, weights.W_dec))
        for other in others:
            middle = _half(weights, other)
            if (pattern(middle.W_enc, problem) != active).any():
                return np.inf
            ends = approximate_loss(weights, problem) + approximate_loss(other, problem)
            worst = max(worst, approximate_loss(middle, problem) - ends / 2)
    return float(worst)


def exact_bend(first: Weights, second: Weights, problem: Problem, states: States) -> tuple[float, bool]:
    """Return the excess of the loss L (eq. 3) at the middle of a segment over the mean of its ends, and whether no
    latent changes its activity in any state along the segment."""
    values, active = [], []
    for weights in (first, second, _half(first, second)):
        values.append(float(states.chance @ state_errors(weights, problem, states)))
        active.append(activate(weights.W_enc @ problem.W_p @ states.x.T, problem) > 0)
    same = bool((active[0] == active[1]).all() and (active[0] == active[2]).all())
    return values[2] - (values[0] + values[1]) / 2, same


def common_threshold(weights: Weights, problem: Problem) -> float | None:
    """Return a c >= 0 with sigma(z) = z 1(z > c) for every single feature; None if there is none."""
    z_QD, active = weights.W_enc @ problem.W_p, pattern(weights.W_enc, problem)
    low = max(float(z_QD[~active].max(initial=0.0)), 0.0)
    return low if low < z_QD[active].min(initial=np.inf) else None


def check(rng: np.random.Generator, instances: int = 150) -> list[Result]:
    """Check Theorem 3.2, its proof, and section 2.4, over random dictionaries with ReLU, JumpReLU and TopK."""
    drawn: Instances = [random_problem(rng, ACTIVATIONS[i % 3]) for i in range(instances)]
    curvatures = [curvature(weights, problem) for problem, weights in drawn]
    bends = [largest_bend(weights, problem, rng) for problem, weights in drawn]
    # rounding errors scale with the size of the Hessians, which this bounds
    rounding = [TOLERANCE * float(p.M.sum() * max(np.abs(part).max() for part in w) ** 2) for p, w in drawn]
    return [
        _biconvex(curvatures, bends, rounding),
        _block_diagonal(drawn, curvatures, rng),
        _semidefinite(drawn, curvatures, rounding),
        _one_threshold(rng, instances),
    ]


def _biconvex(curvatures: list[Curvature], bends: list[float], rounding: list[float]) -> Result:
    least = [min(each.least_decoder, each.least_encoder) for each in curvatures]
    joint = [each.least_joint < -error for each, error in zip(curvatures, rounding, strict=True)]
    return Result(
        "theorem_3_2.biconvex",
        [low < -error or bend > error for low, bend, error in zip(least, bends, rounding, strict=True)],
        observed=[min(least), max(bends), share(joint)],
    )


def _block_diagonal(drawn: Instances, curvatures: list[Curvature], rng: np.random.Generator) -> Result:
    def coupled(each: Curvature, weights: Weights) -> bool:
        return each.coupling(len(weights.W_enc)) > TOLERANCE

    false = [coupled(each, weights) for each, (_, weights) in zip(curvatures, drawn, strict=True)]
    single = [random_problem(rng, "topk", k=1) for _ in range(len(drawn) // 3)]
    example = Weights(np.ones((2, 1)), np.ones((2, 1)))
    return Result(
        "theorem_3_2.block_diagonal",
        false,
        observed=[share(false)],
        counterexample=[curvature(example, autoencoder(np.ones((1, 1)))).coupling(2)],
        false_then=[coupled(curvature(weights, problem), weights) for problem, weights in single],
    )


def _semidefinite(drawn: Instances, curvatures: list[Curvature], rounding: list[float]) -> Result:
    off = [
        float(np.abs(encoder_hessian(weights, problem) - each.encoder).max())
        for (problem, weights), each in zip(drawn, curvatures, strict=True)
    ]
    return Result(
        "theorem_3_2.semidefinite",
        [
            difference > error or each.least_encoder < -error
            for difference, each, error in zip(off, curvatures, rounding, strict=True)
        ],
        observed=[max(off)],
    )


def _one_threshold(rng: np.random.Generator, instances: int) -> Result:
    drawn = [random_problem(rng, "topk") for _ in range(instances)]
    false = [common_threshold(weights, problem) is None for problem, weights in drawn]
    alone = [
        (Problem(problem.W_p[:, [d]], problem.W_r[:, [d]], problem.M[[d]], k=problem.k), weights)
        for problem, weights in drawn
        for d in range(problem.n)
    ]
    return Result(
        "theorem_3_2.one_threshold",
        false,
        observed=[share(false)],
        false_then=[common_threshold(weights, problem) is None for problem, weights in alone],
    )


def check_exact_loss(drawn: Drawn, rng: np.random.Generator) -> Result:
    """Check whether the loss L is biconvex too, on the same dictionaries as Theorem 3.1."""
    bends: dict[bool, list[bool]] = {True: [], False: []}
    for name, problem, weights in drawn:
        for _ in range(10 if name == "relu" else 0):
            W_enc = weights.W_enc + rng.exponential(0.3) * rng.standard_normal(weights.W_enc.shape)
            if (pattern(W_enc, problem) == pattern(weights.W_enc, problem)).all():
                states = independent(problem.n, 0.5, ONE, ONE)
                bend, same = exact_bend(weights, Weights(W_enc, weights.W_dec), problem, states)
                bends[same].append(bend > 1e-9)
    ends = [Weights(np.array([[1.0, other]]), np.ones((1, 2))) for other in (-2.0, -0.1)]
    example, _ = exact_bend(ends[0], ends[1], autoencoder(np.eye(2)), independent(2, 0.5, ONE, ONE))
    return Result(
        "theorem_3_2.exact_loss",
        bends[False] + bends[True],
        observed=[share(bends[False])],
        counterexample=[example],
        false_then=bends[True],
    )
