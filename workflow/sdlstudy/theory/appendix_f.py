"""Appendix F: certificates of global optimality, which the paper proposes, computed for small problems.

Since L~ is piecewise biconvex, global optimisation (GOP) can prove that a dictionary is optimal. Here branch and bound
proves it for Top-1 (`sdlstudy.theory.approximate_loss.certify_top_1`), in some hundreds of nodes.
"""

import numpy as np

from sdlstudy.theory.approximate_loss import Certificate, Problem, Weights, approximate_loss, autoencoder, certify_top_1
from sdlstudy.theory.claims import Result, share
from sdlstudy.theory.landscape import descend, unit_columns
from sdlstudy.theory.partial_minima import partial_minimum, random_groups

EXACT = 1e-8
REACHED = 1e-3
"""A trained dictionary counts as optimal if it exceeds the optimum by less than this share of the loss without one."""


def rank_bound(problem: Problem, n_q: int) -> float:
    """Return the loss of the best reconstruction of rank n_q, by Eckart and Young: a lower bound for n_q latents."""
    singular = np.linalg.svd(problem.W_r * np.sqrt(problem.M), compute_uv=False)
    return float(np.square(singular[n_q:]).sum())


def realise(certificate: Certificate, problem: Problem) -> Weights:
    """Return weights that have the certificate's codes, for linearly independent input features."""
    z = np.where(certificate.codes > 0, certificate.codes, -1.0)
    return Weights(z @ np.linalg.pinv(problem.W_p), certificate.W_dec)


def check(rng: np.random.Generator, instances: int = 30, latents: int = 3) -> Result:
    """Check whether branch and bound finds the least L~ under Top-1, and whether training does."""
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
        start = Weights(rng.standard_normal((latents, 8)) / np.sqrt(8), rng.standard_normal((latents, 8)))
        end = approximate_loss(descend(start, problem), problem)
        below.append(end < certificate.lower - EXACT)
        nothing = float(problem.M @ np.square(problem.W_r).sum(axis=0))  # the loss without a dictionary
        reached.append(end < certificate.upper + REACHED * nothing)
    false = [is_unproved or is_below for is_unproved, is_below in zip(unproved, below, strict=True)]
    return Result(
        "appendix_f.certificate",
        false,
        observed=[
            share([not wrong for wrong in false]),
            np.median(nodes),
            (latents + 1) ** 7,
            np.median(ranks),
            share(spurious),
            share(reached),
        ],
    )
