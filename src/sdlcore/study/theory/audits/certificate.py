"""What Appendix F proposes: certificates of global optimality, for problems that are small enough."""

import numpy as np

from sdlcore.random_streams import stream
from sdlcore.study.theory.audits.instances import share
from sdlcore.study.theory.certificate import certify, certify_top_1, nearly_opposite, rank_bound, realise
from sdlcore.study.theory.claim import BOTH, Claim
from sdlcore.study.theory.landscape import (
    Problem,
    Weights,
    approximate_loss,
    autoencoder,
    codes,
    descend,
    unit_columns,
)
from sdlcore.study.theory.spurious import partial_minimum, random_groups

EXACT = 1e-8
RELATIVE_GAP = 0.02
"""Gap that the search for ReLU is asked for, as a share of the loss of no dictionary at all."""
REACHED = 1e-3
"""Share of that loss by which a trained dictionary may lie above the optimum and count as optimal."""
LARGEST = 5.0


def claims() -> list[Claim]:
    """Check whether branch and bound closes, and what it says of partial minima and of training."""
    rng = stream(0, "theory", "certificate")
    return [_attained(), _top_1(rng), _relu(rng)]


def _attained() -> Claim:
    slants = (0.1, 0.01, 0.001)
    losses = [approximate_loss(*reversed(nearly_opposite(slant))) for slant in slants]
    problem, _ = nearly_opposite(slants[0])
    bounds = (2.0, 5.0, 10.0)
    found = [certify(problem, 2, 0.005, largest) for largest in bounds]
    sinks = losses[0] > losses[1] > losses[2] > 0
    return Claim(
        statement="Section 3.3, beyond the paper",
        version=BOTH,
        says="The approximate loss attains a least value for any number of latents (Theorem 3.3 has n_q >= n).",
        checked="Targets (1, 0), (-1, 0) and (0, 1), two latents, ReLU: columns (1, e) and (-1, e) with e = .1, .01 "
        "and .001.",
        instances=len(slants),
        violations=len(slants) if sinks else 0,
        observed=f"Losses {', '.join(f'{loss:.1e}' for loss in losses)}: as small as one likes, by codes of 1 / (2 e). "
        "Zero it is for no two columns, since the first two targets would have to be these.",
        counterexample=f"e = {slants[2]:g}: L~ = {losses[2]:.1e}, and a smaller e loses less." if sinks else "",
        condition="Codes of bounded sum: lower bounds are then above zero ("
        + ", ".join(
            f"{each.lower:.3f} of {each.upper:.3f} for {bound:g}" for each, bound in zip(found, bounds, strict=True)
        )
        + ").",
        condition_instances=len(bounds),
        condition_violations=sum(each.lower <= 0 for each in found),
    )


def _nothing(problem: Problem) -> float:
    """Return the loss of a dictionary of zeros."""
    return float(problem.M @ np.square(problem.W_r).sum(axis=0))


def _start(problem: Problem, latents: int, rng: np.random.Generator) -> Weights:
    n_p, n_r = len(problem.W_p), len(problem.W_r)
    return Weights(rng.standard_normal((latents, n_p)) / np.sqrt(n_p), rng.standard_normal((latents, n_r)))


def _top_1(rng: np.random.Generator, instances: int = 30, latents: int = 3) -> Claim:
    wrong = 0
    nodes: list[int] = []
    ranks: list[float] = []
    spurious: list[bool] = []
    reached: list[bool] = []
    for _ in range(instances):
        problem = autoencoder(unit_columns(8, 7, rng), rng.uniform(0.2, 2, 7), k=1)
        found = certify_top_1(problem, latents)
        attained = approximate_loss(realise(found, problem), problem)
        wrong += found.gap > EXACT or abs(attained - found.upper) > EXACT
        nodes.append(found.nodes)
        ranks.append(rank_bound(problem, latents) / found.lower)
        for _ in range(20):
            point = partial_minimum(random_groups(7, latents, rng), problem)
            if point is not None and point[1]:
                spurious.append(approximate_loss(point[0], problem) > found.upper + EXACT)
        end = approximate_loss(descend(_start(problem, latents, rng), problem), problem)
        wrong += end < found.lower - EXACT
        reached.append(end < found.upper + REACHED * _nothing(problem))
    return Claim(
        statement="Appendix F, certificate",
        version=BOTH,
        says="Branch and bound proves global optimality: Top-1, seven features, three latents.",
        checked="Branching over which latent a feature activates, bounded by eigenvalues: whether the lower bound "
        "meets the loss of actual weights, and no trained dictionary is below it.",
        instances=instances,
        violations=wrong,
        observed=f"Proved in {share(instances - wrong, instances)} with {np.median(nodes):.0f} nodes (median; there "
        f"are {(latents + 1) ** 7} patterns). The bound of rank without any search is {np.median(ranks):.0%} of the "
        f"optimum (median). Of local minima with random patterns, {share(sum(spurious), len(spurious))} are proved "
        f"spurious; gradient descent from a random start reached the optimum in {share(sum(reached), instances)}.",
    )


def _relu(rng: np.random.Generator, instances: int = 20, latents: int = 2) -> Claim:
    wrong, reached, larger_codes = 0, 0, 0
    gaps: list[float] = []
    solid: list[float] = []
    nodes: list[int] = []
    for i in range(instances):
        dimension = 3 if i % 4 == 3 else 2
        problem = Problem(unit_columns(6, 5, rng), unit_columns(dimension, 5, rng), rng.uniform(0.2, 2, 5))
        scale = _nothing(problem)
        found = certify(problem, latents, RELATIVE_GAP * scale, LARGEST, most_nodes=2000)
        weights = descend(_start(problem, latents, rng), problem)
        end = approximate_loss(weights, problem)
        z = codes(weights.W_enc, problem) * np.abs(weights.W_dec).max(axis=1)[:, None]
        within = z.sum(axis=0).max() <= LARGEST
        false = abs(approximate_loss(realise(found, problem), problem) - found.upper) > EXACT or (
            within and end < found.lower - EXACT
        )
        reached += end < found.upper + REACHED * scale
        if dimension == 3:
            solid.append(found.gap / scale)
            wrong += bool(false)
            continue
        gaps.append(found.gap / scale)
        nodes.append(found.nodes)
        wrong += bool(false) or gaps[-1] > RELATIVE_GAP + EXACT
        wider = certify(problem, latents, RELATIVE_GAP * scale, 4 * LARGEST, most_nodes=2000)
        larger_codes += wider.upper < found.lower - EXACT
    closed = sum(gap <= RELATIVE_GAP + EXACT for gap in gaps)
    return Claim(
        statement="Appendix F, certificate",
        version=BOTH,
        says="Branch and bound proves global optimality to within 2 %: ReLU, five features in the plane, two latents.",
        checked="Branching over boxes of decoder columns, bounded by non-negative least squares on their corners; of "
        f"all encoders whose codes sum to {LARGEST:g} at most for columns with a largest entry of 1. Whether the gap "
        "closes with 2000 nodes, the upper bound is the loss of actual weights, and no trained dictionary is below "
        "the lower one; in three dimensions, only the latter two.",
        instances=instances,
        violations=wrong,
        observed=f"Closed in {share(closed, len(gaps))} with {np.median(nodes):.0f} nodes (median). In three "
        f"dimensions the gap after 2000 nodes is {min(solid):.1%} to {max(solid):.1%} of the loss of no dictionary. "
        f"Codes four times as large are proved to lose less in {share(larger_codes, len(gaps))}: two nearly opposite "
        "columns reconstruct half of the plane. Gradient descent from a random start ended as low as the certified "
        f"solution in {share(reached, instances)}.",
    )
