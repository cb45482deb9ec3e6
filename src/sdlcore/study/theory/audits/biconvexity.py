"""Theorem 3.2, its proof, and the sentence of section 2.4 that it leans on."""

import numpy as np

from sdlcore.random_streams import stream
from sdlcore.study.theory.audits.instances import ACTIVATIONS, random_problem, share
from sdlcore.study.theory.biconvexity import (
    Curvature,
    common_threshold,
    curvature,
    encoder_hessian,
    hessian,
    largest_bend,
)
from sdlcore.study.theory.claim import BOTH, VERSION_3, Claim
from sdlcore.study.theory.landscape import Problem, Weights

TOLERANCE = 1e-8


def claims(instances: int = 150) -> list[Claim]:
    """Check Theorem 3.2 over random dictionaries with each of ReLU, JumpReLU and TopK."""
    rng = stream(0, "theory", "biconvexity")
    drawn = [random_problem(rng, ACTIVATIONS[i % 3]) for i in range(instances)]
    curvatures = [curvature(weights, problem) for problem, weights in drawn]
    bends = [largest_bend(weights, problem, rng) for problem, weights in drawn]
    return [
        _biconvex(drawn, curvatures, bends),
        _block_diagonal(drawn, curvatures, rng),
        _semidefinite(drawn, curvatures),
        _one_threshold(rng, instances),
    ]


def _scale(problem: Problem, weights: Weights) -> float:
    return float(problem.M.sum() * max(np.abs(weights.W_dec).max(), np.abs(weights.W_enc).max()) ** 2)


def _biconvex(drawn: list[tuple[Problem, Weights]], curvatures: list[Curvature], bends: list[float]) -> Claim:
    wrong = sum(
        min(found.least_decoder, found.least_encoder) < -TOLERANCE * _scale(*pair) or bend > TOLERANCE * _scale(*pair)
        for pair, found, bend in zip(drawn, curvatures, bends, strict=True)
    )
    joint = sum(found.least_joint < -TOLERANCE * _scale(*pair) for pair, found in zip(drawn, curvatures, strict=True))
    return Claim(
        statement="Theorem 3.2",
        version=BOTH,
        says="Where the activation pattern of single features is fixed, the approximate loss is convex in W_D and in "
        "W_E, each with the other fixed.",
        checked="Least eigenvalues of both Hessians by automatic differentiation; values of the loss itself at the "
        "middle of segments within a region; ReLU, JumpReLU and TopK, whose regions are convex too.",
        instances=len(drawn),
        violations=wrong,
        observed=f"Least eigenvalue {min(min(found.least_decoder, found.least_encoder) for found in curvatures):.0e}, "
        f"largest value at a middle above the mean of the ends {max(bends):.0e}. In both blocks at once the loss is "
        f"not convex: a negative eigenvalue in {share(joint, len(drawn))}.",
    )


def _block_diagonal(
    drawn: list[tuple[Problem, Weights]], curvatures: list[Curvature], rng: np.random.Generator
) -> Claim:
    coupled = [found.off_diagonal > TOLERANCE for found in curvatures]
    single = [random_problem(rng, "topk", k=1) for _ in range(len(drawn) // 3)]
    still = sum(curvature(weights, problem).off_diagonal > TOLERANCE for problem, weights in single)
    example = _two_latents()
    entry = curvature(example[1], example[0]).off_diagonal
    return Claim(
        statement="Theorem 3.2, proof",
        version=VERSION_3,
        says="The Hessian in W_E is block-diagonal over latents (after eq. 50).",
        checked="Entries of the Hessian between rows of two latents.",
        instances=len(drawn),
        violations=sum(coupled),
        observed=f"Blocks between latents are not zero in {share(sum(coupled), len(drawn))}.",
        counterexample="One feature, two latents that it activates, equal decoder columns of norm 1, M = 1: the "
        f"Hessian is [[2, 2], [2, 2]], {entry:.3g} off the diagonal."
        if any(coupled)
        else "",
        condition="No feature activates two latents whose decoder columns are not orthogonal; so with Top-1.",
        condition_instances=len(single),
        condition_violations=still,
    )


def _two_latents() -> tuple[Problem, Weights]:
    one = np.ones((1, 1))
    return Problem(one, one, np.ones(1)), Weights(np.ones((2, 1)), np.ones((2, 1)))


def _semidefinite(drawn: list[tuple[Problem, Weights]], curvatures: list[Curvature]) -> Claim:
    wrong, worst = 0, 0.0
    for (problem, weights), found in zip(drawn, curvatures, strict=True):
        formula = encoder_hessian(weights, problem)
        size = len(formula)
        difference = np.abs(formula - hessian(weights, problem)[:size, :size]).max()
        worst = max(worst, float(difference))
        wrong += difference > TOLERANCE * _scale(problem, weights) or found.least_encoder < -TOLERANCE * _scale(
            problem, weights
        )
    return Claim(
        statement="Theorem 3.2, proof",
        version=BOTH,
        says="The Hessian in W_E is positive semidefinite all the same.",
        checked="Its formula with the blocks that the proof leaves out, 2 sum_d M_d (V_d V_d^T) kron (w_p^d w_p^d^T), "
        "V_d the decoder columns that d activates, against automatic differentiation; its least eigenvalue.",
        instances=len(drawn),
        violations=wrong,
        observed=f"Formula and automatic differentiation differ by {worst:.0e} at most.",
    )


def _one_threshold(rng: np.random.Generator, instances: int) -> Claim:
    drawn = [random_problem(rng, "topk") for _ in range(instances)]
    missing = [pair for pair in drawn if common_threshold(pair[1], pair[0]) is None]
    per_feature = sum(
        common_threshold(weights, Problem(problem.W_p[:, [d]], problem.W_r[:, [d]], problem.M[[d]], k=problem.k))
        is None
        for problem, weights in drawn
        for d in range(problem.n)
    )
    example = Problem(np.eye(2), np.eye(2), np.ones(2), k=1), Weights(np.array([[3.0, 1.0], [2.0, 0.0]]), np.eye(2))
    none = common_threshold(example[1], example[0]) is None
    return Claim(
        statement="Section 2.4",
        version=VERSION_3,
        says="ReLU, JumpReLU, TopK and BatchTopK can all be written as z 1(z > c) with a threshold c, which Theorem "
        "3.2's regions are defined by.",
        checked="Whether one c gives what TopK keeps of every single feature.",
        instances=len(drawn),
        violations=len(missing),
        observed=f"No c does in {share(len(missing), len(drawn))}. Regions in which TopK keeps the same latents are "
        "convex all the same (the first row has them).",
        counterexample="Top-1 of the pre-activations (3, 2) and (1, 0) of two features keeps 3 and 1 but not 2."
        if none
        else "",
        condition="A threshold of each sample's own.",
        condition_instances=sum(problem.n for problem, _ in drawn),
        condition_violations=per_feature,
    )
