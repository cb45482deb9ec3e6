"""Appendix F: certificates of global optimality, which the paper proposes, computed for small problems.

**Statement.** Since L~ is piecewise biconvex, global optimisation (GOP) can prove that a dictionary is optimal.

**Check.** Branch and bound for Top-1 and for ReLU: whether the lower bound meets the loss of actual weights, and
whether any trained dictionary is below it.

**What holds.** Top-1: exact, in some hundreds of nodes. ReLU in the plane: to within 2 %, for codes of bounded sum.

**Counterexample.** Codes have to be bounded: with targets (1, 0), (-1, 0) and (0, 1) and two latents, L~ has no
minimum. The columns (1, e) and (-1, e) reconstruct the third target by codes of 1 / (2 e) and lose less than e on each
of the others; without any loss, the columns would have to be the first two targets, which do not make the third.
"""

import numpy as np

from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, autoencoder, certify_top_1, codes
from sdlstudy.theory.branch_and_bound import certify, rank_bound, realise
from sdlstudy.theory.claims import BOTH, PROJECT, Claim, share
from sdlstudy.theory.landscape import descend, unit_columns
from sdlstudy.theory.partial_minima import partial_minimum, random_groups

EXACT = 1e-8
RELATIVE_GAP = 0.02
"""Gap at which the search for ReLU stops, as a share of the loss without a dictionary."""
REACHED = 1e-3
"""A trained dictionary counts as optimal if it exceeds the optimum by less than this share of the same loss."""
LARGEST = 5.0
"""Bound on the sum of a feature's codes."""


def nearly_opposite(slant: float) -> tuple[Problem, Weights]:
    """Return the counterexample with e = ``slant``, under ReLU and with orthonormal input features."""
    problem = Problem(np.eye(3), np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]), np.ones(3))
    own_code, shared_code = 1 / (1 + slant**2), 1 / (2 * slant)
    return problem, Weights(
        np.array([[own_code, -1.0, shared_code], [-1.0, own_code, shared_code]]), np.array([[1, slant], [-1, slant]])
    )


def claims(rng: np.random.Generator) -> list[Claim]:
    """Check whether L~ attains a minimum, whether branch and bound finds it, and whether training does."""
    return [_attained(), _top_1(rng), _relu(rng)]


def _attained() -> Claim:
    examples = [nearly_opposite(slant) for slant in (0.1, 0.01, 0.001)]
    losses = [approximate_loss(weights, problem) for problem, weights in examples]
    bounds = (2.0, 5.0, 10.0)
    certificates = [certify(examples[0][0], 2, 0.005, largest) for largest in bounds]
    lowest = [
        f"{each.lower:.3f} of {each.upper:.3f} for {bound:g}" for each, bound in zip(certificates, bounds, strict=True)
    ]
    return Claim(
        "Section 3.3, beyond the paper",
        BOTH,
        origin=PROJECT,
        says="The approximate loss attains a least value for any number of latents (Theorem 3.3 has n_q >= n).",
        checked="Targets (1, 0), (-1, 0) and (0, 1), two latents, ReLU: columns (1, e) and (-1, e) with e = .1, .01 "
        "and .001.",
        false=[losses[0] > losses[1] > losses[2] > 0] * len(losses),
        observed=f"Losses {', '.join(f'{loss:.1e}' for loss in losses)}: arbitrarily small, with codes of 1 / (2 e). "
        "No two columns have zero loss, since they would have to be the first two targets.",
        counterexample=f"e = 0.001: L~ = {losses[2]:.1e}, and a smaller e loses less.",
        condition=f"Codes of bounded sum: lower bounds are then above zero ({', '.join(lowest)}).",
        false_then=[each.lower <= 0 for each in certificates],
    )


def _nothing(problem: Problem) -> float:
    """Return the loss without a dictionary."""
    return float(problem.M @ np.square(problem.W_r).sum(axis=0))


def _trained(problem: Problem, latents: int, rng: np.random.Generator) -> Weights:
    """Return a dictionary trained by gradient descent from a random start."""
    n_p, n_r = len(problem.W_p), len(problem.W_r)
    start = Weights(rng.standard_normal((latents, n_p)) / np.sqrt(n_p), rng.standard_normal((latents, n_r)))
    return descend(start, problem)


def _top_1(rng: np.random.Generator, instances: int = 30, latents: int = 3) -> Claim:
    unproved, below, nodes, ranks, spurious, reached = [], [], [], [], [], []
    for _ in range(instances):
        problem = autoencoder(unit_columns(8, 7, rng), rng.uniform(0.2, 2, 7), k=1)
        certificate = certify_top_1(problem, latents)
        attained = approximate_loss(realise(certificate, problem), problem)
        unproved.append(certificate.gap > EXACT or abs(attained - certificate.upper) > EXACT)
        nodes.append(certificate.nodes)
        ranks.append(rank_bound(problem, latents) / certificate.lower)
        for _ in range(20):
            point = partial_minimum(random_groups(7, latents, rng), problem)
            if point and point[1]:
                spurious.append(approximate_loss(point[0], problem) > certificate.upper + EXACT)
        end = approximate_loss(_trained(problem, latents, rng), problem)
        below.append(end < certificate.lower - EXACT)
        reached.append(end < certificate.upper + REACHED * _nothing(problem))
    false = [is_unproved or is_below for is_unproved, is_below in zip(unproved, below, strict=True)]
    return Claim(
        "Appendix F, certificate",
        BOTH,
        origin=PROJECT,
        says="Branch and bound proves global optimality, for Top-1 with seven features and three latents.",
        checked="Branching over which latent a feature activates, bounded by eigenvalues: whether the lower bound "
        "meets the loss of actual weights, and no trained dictionary is below it.",
        false=false,
        observed=f"Proved in {share([not wrong for wrong in false])} with {np.median(nodes):.0f} nodes (median; there "
        f"are {(latents + 1) ** 7} patterns). The rank bound, without any search, is {np.median(ranks):.0%} of the "
        f"optimum (median). Of local minima with random patterns, {share(spurious)} are proved spurious; gradient "
        f"descent from a random start reached the optimum in {share(reached)}.",
    )


def _relu(rng: np.random.Generator, instances: int = 20, latents: int = 2) -> Claim:
    false, reached, gaps, solid, nodes, larger = [], [], [], [], [], []
    for i in range(instances):
        dimension = 3 if i % 4 == 3 else 2
        problem = Problem(unit_columns(6, 5, rng), unit_columns(dimension, 5, rng), rng.uniform(0.2, 2, 5))
        scale = _nothing(problem)
        certificate = certify(problem, latents, RELATIVE_GAP * scale, LARGEST, most_nodes=2000)
        weights = _trained(problem, latents, rng)
        end = approximate_loss(weights, problem)
        z = codes(weights.W_enc, problem) * np.abs(weights.W_dec).max(axis=1)[:, None]
        below = z.sum(axis=0).max() <= LARGEST and end < certificate.lower - EXACT
        unreal = abs(approximate_loss(realise(certificate, problem), problem) - certificate.upper) > EXACT
        reached.append(end < certificate.upper + REACHED * scale)
        if dimension == 3:
            solid.append(certificate.gap / scale)
            false.append(bool(below) or unreal)
        else:
            gaps.append(certificate.gap / scale)
            nodes.append(certificate.nodes)
            false.append(bool(below) or unreal or gaps[-1] > RELATIVE_GAP + EXACT)
            wider = certify(problem, latents, RELATIVE_GAP * scale, 4 * LARGEST, most_nodes=2000)
            larger.append(wider.upper < certificate.lower - EXACT)
    return Claim(
        "Appendix F, certificate",
        BOTH,
        origin=PROJECT,
        says="Branch and bound proves global optimality within 2 %, for ReLU with five features in the plane and two "
        "latents.",
        checked="Branching over boxes of decoder columns, bounded by non-negative least squares on their corners; of "
        f"all encoders whose codes sum to {LARGEST:g} at most for columns with a largest entry of 1. Whether the gap "
        "closes with 2000 nodes, the upper bound is the loss of actual weights, and no trained dictionary is below the "
        "lower one; in three dimensions, only the latter two.",
        false=false,
        observed=f"Closed in {share([gap <= RELATIVE_GAP + EXACT for gap in gaps])} with {np.median(nodes):.0f} nodes "
        f"(median). In three dimensions the gap after 2000 nodes is {min(solid):.1%} to {max(solid):.1%} of the loss "
        f"without a dictionary. Codes four times as large are proved to lose less in {share(larger)}: two nearly "
        "opposite columns reconstruct half of the plane. Gradient descent from a random start lost as little as the "
        f"certified solution in {share(reached)}.",
    )
