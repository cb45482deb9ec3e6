"""Theorem 3.7 (3.6 of the later revision): spurious partial minima.

If n >= 2 and n_q >= n, every realizable polysemantic pattern that is a partition of the features has a partial minimum
with positive loss, in which gradient descent can become trapped.

It is true under a condition: the matrix sum_{d in F} M_d w_r^d w_r^d^T of each group F has an eigenvector with a
positive inner product with every member (`partial_minima`).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sdlstudy.theory import partial_minima as minima
from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, autoencoder, gradients
from sdlstudy.theory.claims import BOTH, PROJECT, Claim, share
from sdlstudy.theory.landscape import (
    alternate,
    descend,
    gradient_norm,
    pattern,
    perturbed,
    unit_columns,
    with_best_decoder,
)
from sdlstudy.theory.theorem_3_2 import curvature

GRADIENT = 1e-9
"""A gradient counts as zero if its largest entry is below this."""
NEAR = 1e-7
"""A search counts as successful if it finds a gradient with a norm below this, relative to M."""
N_P, N = 8, 6
"""Dimensions and features of the random problems; their features are linearly independent."""
SIZES = (2, 3, 4, 6)
APART = np.array([[1.0, 1.0], [-1.0, -1.0]])
"""Pre-activations of two features: both activate the first latent and neither the second."""


class Drawn(NamedTuple):
    """A problem, a pattern, and the pattern's stationary point, if any, with whether it is a local minimum."""

    problem: Problem
    groups: minima.Groups
    point: tuple[Weights, bool] | None


def draw(rng: np.random.Generator, instances: int = 240) -> list[Drawn]:
    """Return random partitions of random features, under ReLU and JumpReLU."""
    drawn = []
    for _ in range(instances):
        threshold = float(rng.choice([0.0, 0.2]))
        problem = autoencoder(unit_columns(N_P, N, rng), rng.uniform(0.2, 2, N), threshold)
        groups = minima.random_groups(N, N, rng)
        drawn.append(Drawn(problem, groups, minima.partial_minimum(groups, problem)))
    return drawn


def counterexample(threshold: float = 0.0) -> tuple[Problem, Weights]:
    """Return two orthonormal features with M = (2, 1), and the point that the proof constructs."""
    problem = autoencoder(np.eye(2), np.array([2.0, 1.0]), threshold)
    return problem, with_best_decoder(APART, problem)


def escapes(weights: Weights, problem: Problem, rng: np.random.Generator, rounds: int = 12) -> bool:
    """Return whether gradient descent from near a point gets below its loss, in ``rounds`` rounds of 500 steps."""
    loss = approximate_loss(weights, problem)
    active = (weights.W_enc @ problem.W_p)[pattern(weights.W_enc, problem)]
    weights = perturbed(weights, rng, min(1e-3, 1e-2 * float(active.min())))
    for _ in range(rounds):
        weights = descend(weights, problem, 500)
        if approximate_loss(weights, problem) < loss - 1e-3:
            return True
    return False


def check(drawn: list[Drawn], rng: np.random.Generator) -> list[Claim]:
    """Check Theorem 3.7, its proof and its consequence."""
    claims = [_exists(drawn, rng), _instance(), _necessary(rng), _proof(drawn)]
    return [*claims, _traps(drawn, rng), _positive(rng), _correlated(rng)]


def _is_partial_minimum(problem: Problem, groups: minima.Groups, weights: Weights) -> bool:
    """Return whether a constructed point has the properties that Theorem 3.7 claims."""
    loss, turns = approximate_loss(weights, problem), alternate(weights, problem, 3)
    right = (pattern(weights.W_enc, problem) == minima.groups_to_pattern(groups, problem.n)).all()
    stays = turns.left_after is None and abs(turns.losses[-1] - loss) < 1e-9
    return bool(gradient_norm(weights, problem) < GRADIENT and right and loss > 1e-9 and stays)


def _exists(drawn: list[Drawn], rng: np.random.Generator) -> Claim:
    missing = [point is None for _, _, point in drawn]
    shares = {m: minima.share_with_point(m, 32, 1000, rng)[0] for m in SIZES}
    text = ", ".join(f"{shares[m]:.0%} for {m} (m 2^(1-m) = {minima.expected_share(m):.0%})" for m in SIZES)
    superposed = [autoencoder(unit_columns(N_P, N_P + 4, rng)) for _ in range(100)]
    realized = [minima.partial_minimum([[0, 1]], problem) is not None for problem in superposed]
    rounds = [_rounds(*counterexample(c)) for c in (0.0, 0.1)]
    return Claim(
        "Theorem 3.7",
        BOTH,
        says="Every realizable polysemantic pattern that is a partition has a partial minimum with positive loss.",
        checked=f"Random partitions of {N} random features in {N_P} dimensions, ReLU and JumpReLU, random M_d. "
        "Independent features make every pattern realizable.",
        false=missing,
        observed=f"No such point exists in {share(missing)}. Groups of m random directions with equal M_d have a point "
        f"in {text}: one of m eigenvectors needs m equal signs. With {N_P + 4} features in {N_P} dimensions, "
        f"{share(realized)} of groups of two with a point have an encoder row for it that leaves others silent.",
        counterexample="Orthonormal features, M = (2, 1), pattern ({1, 2}, {}): eigenvectors are the features "
        f"themselves. Alternating minimisation from the encoder (1, 1) {rounds[0]} with c = 0, its second activation "
        f"halved in each round, and {rounds[1]} with c = .1.",
        condition="Each group has an eigenvector of sum_{d in F} M_d w_r^d w_r^d^T with a positive product with every "
        "member (w_p^d independent). Checked: gradients, pattern, loss, and that alternating minimisation stays.",
        false_then=[not _is_partial_minimum(problem, groups, point[0]) for problem, groups, point in drawn if point],
    )


def _rounds(problem: Problem, weights: Weights) -> str:
    left_after = alternate(weights, problem, 100).left_after
    return "stays in its region for 100 rounds" if left_after is None else f"leaves it after {left_after} rounds"


def _instance(points: int = 999) -> Claim:
    step, middle = np.pi / 2 / (points + 1), points // 2
    rows = [np.array([[np.cos(t), np.sin(t)]]) for t in step * np.arange(1, points + 1)]

    def profiled(*M: float) -> np.ndarray:
        """Return the loss over directions of the row, each with its best decoder."""
        problem = autoencoder(np.eye(2), np.array(M))
        return np.array([approximate_loss(with_best_decoder(row, problem), problem) for row in rows])

    losses = profiled(2.0, 1.0)
    rise, flat = np.diff(losses), np.abs(np.diff(profiled(1.0, 1.0)))
    closed = np.array([3 - (4 * a**2 + b**2) / (2 * a**2 + b**2) for ((a, b),) in rows])
    return Claim(
        "Theorem 3.7",
        BOTH,
        origin=PROJECT,
        says="Two orthonormal features with M = (2, 1) have a partial minimum with the pattern ({1, 2}, {}).",
        checked=f"The loss with the best decoder at {points} directions (a, b) of the row, a and b above 0. Its scale "
        "does not matter, as the decoder undoes it.",
        false=[bool((rise > 0).all())],
        observed=f"The loss is 3 - (4 a^2 + b^2) / (2 a^2 + b^2), to {np.abs(losses - closed).max():.0e}. It rises in "
        f"b / a throughout, from {losses[0]:.3f} to {losses[-1]:.3f}: no row is stationary, and descent runs to the "
        "border b = 0.",
        counterexample=f"At a = b the loss is {losses[middle]:.3f}, and rises with the angle by "
        f"{rise[middle] / step:.3f} per radian.",
        condition="Equal M_d, as in Example 3.5: the loss is the same in all directions.",
        false_then=[bool(flat.max() > 1e-12)],
    )


def _necessary(rng: np.random.Generator, instances: int = 80) -> Claim:
    with_eigenvector: list[float] = []
    without_eigenvector: list[float] = []
    for _ in range(instances):
        members = int(rng.integers(2, 5))
        W, M = unit_columns(N_P, members, rng), rng.uniform(0.2, 2, members)
        (with_eigenvector if minima.group_points(W, M) else without_eigenvector).append(
            minima.search_points(W, M, rng, 10)
        )
    return Claim(
        "Theorem 3.7, beyond the paper",
        BOTH,
        origin=PROJECT,
        says="That condition is necessary: a group without such an eigenvector has no stationary point.",
        checked="Nonlinear least squares on the gradient from ten starts each, which uses no eigenvectors, over "
        "activations that differ by a factor of at most e^6; groups without such an eigenvector.",
        false=[nearest < NEAR for nearest in without_eigenvector],
        observed=f"In groups without it, the gradient stays above {min(without_eigenvector):.1e} (relative to M). In "
        f"groups with it, the search finds a point in {share([nearest < NEAR for nearest in with_eigenvector])}.",
    )


def _proof(drawn: list[Drawn]) -> Claim:
    slopes = []
    for problem, groups, _ in drawn:
        z = problem.threshold + np.where(minima.groups_to_pattern(groups, problem.n), 1.0, -1.0)
        slopes.append(gradient_norm(with_best_decoder(z @ np.linalg.pinv(problem.W_p), problem), problem))
    problem, weights = counterexample()
    row, false = gradients(weights, problem).W_enc[0], [slope > GRADIENT for slope in slopes]
    return Claim(
        "Theorem 3.7, proof",
        BOTH,
        says="The encoder's gradient vanishes for any realizing encoder, with the decoder of eq. (76) (steps 85 to "
        "88).",
        checked="The gradient for an encoder that realizes the pattern with equal activations.",
        false=false,
        observed=f"It does not vanish in {share(false)}; its largest entry is {np.median(slopes):.2g} (median). The "
        "step from (85) to (86) takes w_p^d out of the sum over d, although it depends on d.",
        counterexample="Orthonormal features, M = (2, 1), encoder row (1, 1), decoder column (2/3, 1/3): the gradient "
        f"is ({row[0]:.3f}, {row[1]:.3f}).",
        condition="Activations proportional to products with the eigenvector.",
        false_then=[gradient_norm(point[0], problem) > GRADIENT for problem, _, point in drawn if point],
    )


def _traps(drawn: list[Drawn], rng: np.random.Generator, most: int = 20) -> Claim:
    escaped: dict[bool, list[bool]] = {True: [], False: []}
    bent: dict[bool, list[bool]] = {True: [], False: []}
    for problem, _, point in drawn:
        if point and not problem.threshold and len(escaped[point[1]]) < most:
            weights, local = point
            escaped[local].append(escapes(weights, problem, rng))
            bent[local].append(curvature(weights, problem).least_joint < -1e-6)
    pair = autoencoder(np.array([[1.0, -0.4], [0.0, np.sqrt(1 - 0.4**2)]]))
    saddle = with_best_decoder(np.linalg.solve(pair.W_p.T, APART.T).T, pair)
    end = approximate_loss(descend(perturbed(saddle, rng), pair, 4000, lr=0.1), pair)
    text = ", ".join(f"{minima.expected_share(m, largest=True):.1%} for {m}" for m in SIZES)
    return Claim(
        "Theorem 3.7, consequence",
        BOTH,
        says="Gradient descent can become trapped at each of these points.",
        checked="Gradient descent under ReLU from starts that are perturbed by a hundredth of the least activation, "
        ".001 at most; the Hessian in both blocks.",
        false=escaped[True] + escaped[False],
        observed=f"It escaped in {share(escaped[False])} where some group's eigenvalue is not its largest, and in "
        f"{share(escaped[True])} where all are the largest; a negative eigenvalue of the Hessian in "
        f"{share(bent[False])} and {share(bent[True])}. Of m random directions the largest eigenvector has equal signs "
        f"with chance 2^(1-m): {text}.",
        counterexample="Two features with inner product -.4, one latent for both: both gradients are zero at a loss of "
        f"{approximate_loss(saddle, pair):.3g}, and descent from nearby ends at {end:.3g}.",
        condition="The eigenvalue is the largest of its group, for every group.",
        false_then=escaped[True],
    )


def _positive(rng: np.random.Generator, instances: int = 60) -> Claim:
    def lost(problem: Problem) -> bool:
        weights = with_best_decoder(APART @ np.linalg.pinv(problem.W_p), problem)
        return approximate_loss(weights, problem) > 1e-12

    equal, apart = [], []
    for _ in range(instances):
        problem = replace(autoencoder(unit_columns(N_P, 2, rng)), W_r=unit_columns(3, 2, rng))
        equal.append(not lost(replace(problem, W_r=problem.W_r[:, [0, 0]])))
        apart.append(not lost(problem))
    return Claim(
        "Theorem 3.7, proof",
        BOTH,
        says="Its loss is positive by Assumption 2.4 (step 6).",
        checked="Transcoders with two features of different inputs and equal targets, one latent for both.",
        false=equal,
        observed=f"The loss is zero in {share(equal)}: Assumption 2.4 keeps input features apart, but not targets.",
        counterexample="w_r^1 = w_r^2: a latent for both reconstructs both.",
        condition="No two target features of a group are parallel.",
        condition_source="proof of Theorem 3.7, step 6",
        false_then=apart,
    )


def _correlated(rng: np.random.Generator, instances: int = 200) -> Claim:
    false = []
    for _ in range(instances):
        members = int(rng.integers(2, 8))
        W = np.abs(rng.standard_normal((members + 1, members)))
        points = minima.group_points(W / np.linalg.norm(W, axis=0), rng.uniform(0.2, 2, members))
        false.append(len(points) != 1 or not points[0].largest)
    return Claim(
        "Theorem 3.7, beyond the paper",
        BOTH,
        origin=PROJECT,
        says="A group whose target features all have positive inner products has a partial minimum, which is a local "
        "minimum.",
        checked="Groups of two to seven such features with random M_d: their eigenvectors.",
        false=false,
        observed="By Perron and Frobenius, the eigenvector of the largest eigenvalue of a matrix with positive entries "
        "is positive, and no other eigenvector is.",
    )
