"""Theorem 3.7 (3.6 of the later revision): spurious partial minima.

If n >= 2 and n_q >= n, every realizable polysemantic pattern that is a partition of the features has a partial minimum
with positive loss, where gradient descent can become trapped.

It is true under a condition: the matrix sum_{d in F} M_d w_r^d w_r^d^T of each group F has an eigenvector with a
positive inner product with every member (`partial_minima`).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sdlstudy.theory import partial_minima as minima
from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, autoencoder, gradients
from sdlstudy.theory.claims import Result, share
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


def check(drawn: list[Drawn], rng: np.random.Generator) -> list[Result]:
    """Check Theorem 3.7, its proof and its consequence."""
    claims = [_exists(drawn, rng), _instance(), _necessary(rng), _proof(drawn)]
    return [*claims, _traps(drawn, rng), _positive(rng), _correlated(rng)]


def _is_partial_minimum(problem: Problem, groups: minima.Groups, weights: Weights) -> bool:
    """Return whether a constructed point has the properties that Theorem 3.7 claims."""
    loss, turns = approximate_loss(weights, problem), alternate(weights, problem, 3)
    right = (pattern(weights.W_enc, problem) == minima.groups_to_pattern(groups, problem.n)).all()
    stays = turns.left_after is None and abs(turns.losses[-1] - loss) < 1e-9
    return bool(gradient_norm(weights, problem) < GRADIENT and right and loss > 1e-9 and stays)


def _exists(drawn: list[Drawn], rng: np.random.Generator) -> Result:
    missing = [point is None for _, _, point in drawn]
    shares = {m: minima.share_with_point(m, 32, 1000, rng)[0] for m in SIZES}
    text = ", ".join(f"{shares[m]:.0%} for {m} (m 2^(1-m) = {minima.expected_share(m):.0%})" for m in SIZES)
    superposed = [autoencoder(unit_columns(N_P, N_P + 4, rng)) for _ in range(100)]
    realized = [minima.partial_minimum([[0, 1]], problem) is not None for problem in superposed]
    rounds = [_rounds(*counterexample(c)) for c in (0.0, 0.1)]
    return Result(
        "theorem_3_7.exists",
        missing,
        observed=[share(missing), text, N_P + 4, N_P, share(realized)],
        counterexample=[rounds[0], rounds[1]],
        false_then=[not _is_partial_minimum(problem, groups, point[0]) for problem, groups, point in drawn if point],
    )


def _rounds(problem: Problem, weights: Weights) -> str:
    left_after = alternate(weights, problem, 100).left_after
    return "stays in its region for 100 rounds" if left_after is None else f"leaves it after {left_after} rounds"


def _instance(points: int = 999) -> Result:
    step, middle = np.pi / 2 / (points + 1), points // 2
    rows = [np.array([[np.cos(t), np.sin(t)]]) for t in step * np.arange(1, points + 1)]

    def profiled(*M: float) -> np.ndarray:
        """Return the loss over directions of the row, each with its best decoder."""
        problem = autoencoder(np.eye(2), np.array(M))
        return np.array([approximate_loss(with_best_decoder(row, problem), problem) for row in rows])

    losses = profiled(2.0, 1.0)
    rise, flat = np.diff(losses), np.abs(np.diff(profiled(1.0, 1.0)))
    closed = np.array([3 - (4 * a**2 + b**2) / (2 * a**2 + b**2) for ((a, b),) in rows])
    return Result(
        "theorem_3_7.instance",
        [bool((rise > 0).all())],
        observed=[np.abs(losses - closed).max(), losses[0], losses[-1]],
        counterexample=[losses[middle], rise[middle] / step],
        false_then=[bool(flat.max() > 1e-12)],
    )


def _necessary(rng: np.random.Generator, instances: int = 80) -> Result:
    with_eigenvector: list[float] = []
    without_eigenvector: list[float] = []
    for _ in range(instances):
        members = int(rng.integers(2, 5))
        W, M = unit_columns(N_P, members, rng), rng.uniform(0.2, 2, members)
        (with_eigenvector if minima.group_points(W, M) else without_eigenvector).append(
            minima.search_points(W, M, rng, 10)
        )
    return Result(
        "theorem_3_7.necessary",
        [nearest < NEAR for nearest in without_eigenvector],
        observed=[min(without_eigenvector), share([nearest < NEAR for nearest in with_eigenvector])],
    )


def _proof(drawn: list[Drawn]) -> Result:
    slopes = []
    for problem, groups, _ in drawn:
        z = problem.threshold + np.where(minima.groups_to_pattern(groups, problem.n), 1.0, -1.0)
        slopes.append(gradient_norm(with_best_decoder(z @ np.linalg.pinv(problem.W_p), problem), problem))
    problem, weights = counterexample()
    row, false = gradients(weights, problem).W_enc[0], [slope > GRADIENT for slope in slopes]
    return Result(
        "theorem_3_7.proof",
        false,
        observed=[share(false), np.median(slopes)],
        counterexample=[row[0], row[1]],
        false_then=[gradient_norm(point[0], problem) > GRADIENT for problem, _, point in drawn if point],
    )


def _traps(drawn: list[Drawn], rng: np.random.Generator, most: int = 20) -> Result:
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
    return Result(
        "theorem_3_7.traps",
        escaped[True] + escaped[False],
        observed=[share(escaped[False]), share(escaped[True]), share(bent[False]), share(bent[True]), text],
        counterexample=[approximate_loss(saddle, pair), end],
        false_then=escaped[True],
    )


def _positive(rng: np.random.Generator, instances: int = 60) -> Result:
    def lost(problem: Problem) -> bool:
        weights = with_best_decoder(APART @ np.linalg.pinv(problem.W_p), problem)
        return approximate_loss(weights, problem) > 1e-12

    equal, apart = [], []
    for _ in range(instances):
        problem = replace(autoencoder(unit_columns(N_P, 2, rng)), W_r=unit_columns(3, 2, rng))
        equal.append(not lost(replace(problem, W_r=problem.W_r[:, [0, 0]])))
        apart.append(not lost(problem))
    return Result("theorem_3_7.positive", equal, observed=[share(equal)], false_then=apart)


def _correlated(rng: np.random.Generator, instances: int = 200) -> Result:
    false = []
    for _ in range(instances):
        members = int(rng.integers(2, 8))
        W = np.abs(rng.standard_normal((members + 1, members)))
        points = minima.group_points(W / np.linalg.norm(W, axis=0), rng.uniform(0.2, 2, members))
        false.append(len(points) != 1 or not points[0].largest)
    return Result("theorem_3_7.correlated", false)
