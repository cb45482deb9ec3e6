"""Example 3.5 and Theorem 3.7."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sdlcore.random_streams import stream
from sdlcore.study.theory.audits.instances import share
from sdlcore.study.theory.biconvexity import curvature
from sdlcore.study.theory.claim import BOTH, Claim
from sdlcore.study.theory.landscape import (
    Problem,
    Weights,
    alternate,
    approximate_loss,
    autoencoder,
    descend,
    gradient_norm,
    gradients,
    pattern,
    perturbed,
    unit_columns,
)
from sdlcore.study.theory.spurious import (
    Groups,
    example_3_5,
    expected_share,
    group_points,
    groups_to_pattern,
    paper_point,
    partial_minimum,
    random_groups,
    search_points,
    share_with_point,
)

GRADIENT = 1e-9
"""Largest entry of a gradient that counts as zero."""
NEAR = 1e-7
"""Largest norm of a gradient, relative to M, that counts as a stationary point found by search."""
N_P, N = 8, 6
"""Dimensions and features of the random problems, features linearly independent."""


def claims() -> list[Claim]:
    """Check Example 3.5 and Theorem 3.7."""
    rng = stream(0, "theory", "spurious")
    drawn = [_draw(rng) for _ in range(240)]
    return [
        _example(),
        _example_traps(rng),
        _exists(drawn, rng),
        _instance(),
        _necessary(rng),
        _proof(drawn),
        _traps(drawn, rng),
        _positive(rng),
        _correlated(rng),
    ]


class Drawn(NamedTuple):
    """A problem, a pattern of it, and its stationary point where there is one."""

    problem: Problem
    groups: Groups
    found: tuple[Weights, bool] | None


def _draw(rng: np.random.Generator) -> Drawn:
    threshold = float(rng.choice([0.0, 0.2]))
    problem = autoencoder(unit_columns(N_P, N, rng), rng.uniform(0.2, 2, N), threshold)
    groups = random_groups(N, N, rng)
    return Drawn(problem, groups, partial_minimum(groups, problem))


def _counterexample(threshold: float = 0.0) -> tuple[Problem, Weights]:
    problem = autoencoder(np.eye(2), np.array([2.0, 1.0]), threshold)
    return problem, paper_point(np.array([[1.0, 1.0], [-1.0, -1.0]]), problem)


def _example() -> Claim:
    problem, weights = example_3_5()
    loss, slope = approximate_loss(weights, problem), gradient_norm(weights, problem)
    wrong = abs(loss - 1) > 1e-12 or slope > GRADIENT or alternate(weights, problem, 10).left_after is not None
    return Claim(
        statement="Example 3.5",
        version=BOTH,
        says="One latent for two orthogonal features under Top-1 is a partial minimum with loss 1.",
        checked="The loss, both gradients through the package's model, and ten rounds of alternating minimisation "
        "from there.",
        instances=1,
        violations=int(wrong),
        observed=f"Loss {loss:.3g}, largest entry of the gradients {slope:.3g}. The two M_d have to be equal: with "
        "others, no point has this pattern (Theorem 3.7 below).",
    )


def _example_traps(rng: np.random.Generator, starts: int = 30) -> Claim:
    escaped = {}
    for name, dead, k in (("top-1", 0.0, 1), ("relu", 0.0, None), ("relu, dead", -0.5, None)):
        weights = example_3_5(dead)[1]
        problem = autoencoder(np.eye(2), k=k)
        ends = [approximate_loss(descend(perturbed(weights, rng), problem, 2000), problem) for _ in range(starts)]
        escaped[name] = sum(abs(end - 1) > 1e-3 for end in ends)
    return Claim(
        statement="Example 3.5",
        version=BOTH,
        says="Gradient descent is trapped there.",
        checked="Gradient descent under Top-1 from starts that are perturbed by noise of standard deviation .001.",
        instances=starts,
        violations=escaped["top-1"],
        observed=f"Away from loss 1 came {share(escaped['top-1'], starts)}. Gradients vanish under ReLU alone, too, "
        "but there the dead latent's row of zeros lies on the border of its region, noise makes it fire, and it takes "
        f"one of the features: {share(escaped['relu'], starts)} escaped. With a dead latent whose pre-activations are "
        f"-.5, {share(escaped['relu, dead'], starts)} did.",
    )


def _is_partial_minimum(drawn: Drawn) -> bool:
    """Tell whether a constructed point is what Theorem 3.7 promises."""
    if drawn.found is None:
        return False
    weights, problem = drawn.found[0], drawn.problem
    loss, turns = approximate_loss(weights, problem), alternate(weights, problem, 3)
    right = (pattern(weights.W_enc, problem) == groups_to_pattern(drawn.groups, problem.n)).all()
    stays = turns.left_after is None and abs(turns.losses[-1] - loss) < 1e-9
    return bool(gradient_norm(weights, problem) < GRADIENT and right and loss > 1e-9 and stays)


def _exists(drawn: list[Drawn], rng: np.random.Generator) -> Claim:
    with_point = [each for each in drawn if each.found is not None]
    missing = len(drawn) - len(with_point)
    sizes = (2, 3, 4, 6)
    shares = {members: share_with_point(members, 32, 1000, rng) for members in sizes}
    text = ", ".join(f"{shares[m][0]:.0%} for {m} (m 2^(1-m) = {expected_share(m):.0%})" for m in sizes)
    realized, points = _superposed(rng)
    left = [alternate(_counterexample(c)[1], _counterexample(c)[0], 100).left_after for c in (0.0, 0.1)]
    return Claim(
        statement="Theorem 3.7",
        version=BOTH,
        says="Every realizable polysemantic pattern that is a partition has a partial minimum with positive loss.",
        checked=f"Random partitions of {N} random features in {N_P} dimensions, ReLU and JumpReLU, random M_d. "
        "Independent features make every pattern realizable.",
        instances=len(drawn),
        violations=missing,
        observed=f"None in {share(missing, len(drawn))}. Of groups of m random directions with equal M_d there is a "
        f"point in {text}: one of m eigenvectors has to have m equal signs. With {N_P + 4} features in {N_P} "
        f"dimensions, {share(realized, points)} of groups of two with a point have an encoder row for it that leaves "
        "others silent.",
        counterexample="Orthonormal features, M = (2, 1), pattern ({1, 2}, {}): eigenvectors are the features "
        f"themselves. Alternating minimisation from the encoder (1, 1) {_said(left[0])} with c = 0, its second "
        f"activation halved in each round, and {_said(left[1])} with c = .1."
        if missing
        else "",
        condition="Each group has an eigenvector of sum_{d in F} M_d w_r^d w_r^d^T with a positive product with every "
        "member (w_p^d independent): checked are gradients, pattern, loss, and that alternating minimisation stays.",
        condition_instances=len(with_point),
        condition_violations=sum(not _is_partial_minimum(each) for each in with_point),
    )


def _instance(points: int = 999) -> Claim:
    step, middle = np.pi / 2 / (points + 1), points // 2
    rows = [np.array([np.cos(t), np.sin(t)]) for t in step * np.arange(1, points + 1)]

    def profiled(M: tuple[float, float]) -> np.ndarray:
        """Return the loss over directions of the row, each with its best decoder."""
        problem = autoencoder(np.eye(2), np.array(M))
        return np.array([approximate_loss(paper_point(row[None], problem), problem) for row in rows])

    found = profiled((2.0, 1.0))
    rise, flat = np.diff(found), np.abs(np.diff(profiled((1.0, 1.0))))
    closed = np.array([3 - (4 * a**2 + b**2) / (2 * a**2 + b**2) for a, b in rows])
    none = bool((rise > 0).all())
    return Claim(
        statement="Theorem 3.7",
        version=BOTH,
        says="Two orthonormal features with M = (2, 1) have a partial minimum with the pattern ({1, 2}, {}).",
        checked=f"The loss with the best decoder at {points} directions (a, b) of the row, a and b above 0. Its scale "
        "does not matter, as the decoder undoes it.",
        instances=1,
        violations=int(none),
        observed=f"The loss is 3 - (4 a^2 + b^2) / (2 a^2 + b^2), to {np.abs(found - closed).max():.0e}. It rises in "
        f"b / a throughout, from {found[0]:.3f} to {found[-1]:.3f}: no row is stationary, and descent runs to the "
        "border b = 0.",
        counterexample=f"At a = b the loss is {found[middle]:.3f}, and rises with the angle by "
        f"{rise[middle] / step:.3f} per radian."
        if none
        else "",
        condition="Equal M_d, as in Example 3.5: the loss is the same in all directions.",
        condition_instances=1,
        condition_violations=int(flat.max() > 1e-12),
    )


def _said(left_after: int | None) -> str:
    return "stays in its region for 100 rounds" if left_after is None else f"leaves it after {left_after} rounds"


def _superposed(rng: np.random.Generator, trials: int = 100) -> tuple[int, int]:
    """Return how many pairs in superposition have an encoder row for their point, and how many pairs there were."""
    realized = 0
    for _ in range(trials):
        problem = autoencoder(unit_columns(N_P, N_P + 4, rng))
        realized += partial_minimum([[0, 1]], problem) is not None
    return realized, trials


def _necessary(rng: np.random.Generator, instances: int = 80) -> Claim:
    wrong, found, apart = 0, [], []
    for _ in range(instances):
        members = int(rng.integers(2, 5))
        W, M = unit_columns(N_P, members, rng), rng.uniform(0.2, 2, members)
        points = group_points(W, M)
        nearest = search_points(W, M, rng, 10)
        if points:
            found.append(nearest < NEAR)
        else:
            wrong += nearest < NEAR
            apart.append(nearest)
    return Claim(
        statement="Theorem 3.7, beyond the paper",
        version=BOTH,
        says="That condition is necessary: a group without such an eigenvector has no stationary point.",
        checked="Nonlinear least squares on the gradient from ten starts each, which knows nothing of eigenvectors, "
        "over activations that differ by a factor of at most e^6; groups without an eigenvector.",
        instances=len(apart),
        violations=wrong,
        observed=f"In groups without, it comes no nearer to zero than {min(apart):.1e} (relative to M). Of groups "
        f"that have an eigenvector it finds a point in {share(sum(found), len(found))}.",
    )


def _proof(drawn: list[Drawn]) -> Claim:
    slopes = []
    for problem, groups, _ in drawn:
        active = groups_to_pattern(groups, problem.n)
        z = np.where(active, problem.threshold + 1.0, problem.threshold - 1.0)
        slopes.append(gradient_norm(paper_point(z @ np.linalg.pinv(problem.W_p), problem), problem))
    problem, weights = _counterexample()
    row = gradients(weights, problem).W_enc[0]
    with_point = [each for each in drawn if each.found is not None]
    wrong = sum(slope > GRADIENT for slope in slopes)
    return Claim(
        statement="Theorem 3.7, proof",
        version=BOTH,
        says="The encoder's gradient vanishes for any realizing encoder, with the decoder of eq. (76) (steps 85 to "
        "88).",
        checked="The gradient for an encoder that realizes the pattern with equal activations.",
        instances=len(drawn),
        violations=wrong,
        observed=f"It does not in {share(wrong, len(drawn))}; median of its largest entry {np.median(slopes):.2g}. "
        "The step from (85) to (86) takes w_p^d, another one for each d, out of the sum over d.",
        counterexample="Orthonormal features, M = (2, 1), encoder row (1, 1), decoder column (2/3, 1/3): the gradient "
        f"is ({row[0]:.3f}, {row[1]:.3f})."
        if wrong
        else "",
        condition="Activations proportional to products with the eigenvector.",
        condition_instances=len(with_point),
        condition_violations=sum(
            gradient_norm(each.found[0], each.problem) > GRADIENT for each in with_point if each.found
        ),
    )


def _traps(drawn: list[Drawn], rng: np.random.Generator, most: int = 20) -> Claim:
    kinds: dict[bool, list[bool]] = {True: [], False: []}
    bent = {True: 0, False: 0}
    for problem, _, found in drawn:
        if found is None or problem.threshold or len(kinds[found[1]]) >= most:
            continue
        weights, local = found
        kinds[local].append(_escapes(weights, problem, rng))
        bent[local] += curvature(weights, problem).least_joint < -1e-6
    stuck, saddles = kinds[True], kinds[False]
    text = ", ".join(f"{expected_share(m, largest=True):.1%} for {m}" for m in (2, 3, 4, 6))
    return Claim(
        statement="Theorem 3.7, consequence",
        version=BOTH,
        says="Gradient descent can become trapped at each of these points.",
        checked="Gradient descent under ReLU from starts that are perturbed by a hundredth of the least activation, "
        ".001 at most; the Hessian in both blocks.",
        instances=len(stuck) + len(saddles),
        violations=sum(stuck) + sum(saddles),
        observed=f"It came away in {share(sum(saddles), len(saddles))} where some group's eigenvalue is not its "
        f"largest, and in {share(sum(stuck), len(stuck))} where all are; a negative eigenvalue of the Hessian in "
        f"{share(bent[False], len(saddles))} and {share(bent[True], len(stuck))}. Of m random directions the largest "
        f"eigenvector has equal signs with chance 2^(1-m): {text}.",
        counterexample=_saddle(rng) if sum(saddles) else "",
        condition="The eigenvalue is the largest of its group, for every group.",
        condition_instances=len(stuck),
        condition_violations=sum(stuck),
    )


def _escapes(weights: Weights, problem: Problem, rng: np.random.Generator, rounds: int = 12) -> bool:
    """Tell whether gradient descent from near a point gets below its loss, in 500 steps a round."""
    loss = approximate_loss(weights, problem)
    active = (weights.W_enc @ problem.W_p)[pattern(weights.W_enc, problem)]
    weights = perturbed(weights, rng, min(1e-3, 1e-2 * float(active.min())))
    for _ in range(rounds):
        weights = descend(weights, problem, 500)
        if approximate_loss(weights, problem) < loss - 1e-3:
            return True
    return False


def _saddle(rng: np.random.Generator) -> str:
    W = np.array([[1.0, -0.4], [0.0, np.sqrt(1 - 0.4**2)]])
    problem = autoencoder(W)
    found = partial_minimum([[0, 1], []], problem)
    if found is None:
        return ""
    end = approximate_loss(descend(perturbed(found[0], rng), problem, 4000, lr=0.1), problem)
    return (
        f"Two features with inner product -.4, one latent for both: both gradients are zero at a loss of "
        f"{approximate_loss(found[0], problem):.3g}, and descent from nearby ends at {end:.3g}."
    )


def _positive(rng: np.random.Generator, instances: int = 60) -> Claim:
    wrong = repaired = 0
    for _ in range(instances):
        problem = replace(autoencoder(unit_columns(N_P, 2, rng)), W_r=unit_columns(3, 2, rng))
        same = replace(problem, W_r=problem.W_r[:, [0, 0]])
        W_enc = np.array([[1.0, 1.0], [-1.0, -1.0]]) @ np.linalg.pinv(problem.W_p)
        wrong += approximate_loss(paper_point(W_enc, same), same) < 1e-12
        repaired += approximate_loss(paper_point(W_enc, problem), problem) < 1e-12
    return Claim(
        statement="Theorem 3.7, proof",
        version=BOTH,
        says="Its loss is positive by Assumption 2.4 (step 6).",
        checked="Transcoders with two features of different inputs and equal targets, one latent for both.",
        instances=instances,
        violations=wrong,
        observed=f"The loss is zero in {share(wrong, instances)}: Assumption 2.4 keeps input features apart, and says "
        "nothing of targets.",
        counterexample="w_r^1 = w_r^2: a latent for both reconstructs both." if wrong else "",
        condition="No two target features of a group are parallel.",
        condition_instances=instances,
        condition_violations=repaired,
    )


def _correlated(rng: np.random.Generator, instances: int = 200) -> Claim:
    wrong = 0
    for _ in range(instances):
        members = int(rng.integers(2, 8))
        W = np.abs(rng.standard_normal((members + 1, members)))
        points = group_points(W / np.linalg.norm(W, axis=0), rng.uniform(0.2, 2, members))
        wrong += len(points) != 1 or not points[0].largest
    return Claim(
        statement="Theorem 3.7, beyond the paper",
        version=BOTH,
        says="A group whose target features all have positive inner products has a partial minimum, and it is a local "
        "one.",
        checked="Groups of two to seven such features with random M_d: their eigenvectors.",
        instances=instances,
        violations=wrong,
        observed="By Perron and Frobenius the largest eigenvector of a matrix of positive entries is positive, and it "
        "alone.",
    )
