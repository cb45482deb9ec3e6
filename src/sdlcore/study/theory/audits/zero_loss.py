"""Theorem 3.4 and its consequences: what zero loss says of a dictionary."""

from dataclasses import replace

import numpy as np

from sdlcore.data.recovery_rule import TAU, recovered
from sdlcore.study.theory.audits.instances import random_problem, share
from sdlcore.study.theory.claim import BOTH, Claim
from sdlcore.study.theory.landscape import (
    Problem,
    Weights,
    approximate_loss,
    autoencoder,
    best_decoder,
    residuals,
    unit_columns,
)
from sdlcore.study.theory.minima import (
    NEARLY_ZERO,
    basis_with_opposite,
    cosines,
    freedom,
    ground_truth,
    own_latents,
    thresholded,
)


def claims(rng: np.random.Generator) -> list[Claim]:
    """Check Theorem 3.4."""
    return [_if_and_only_if(rng), _underdetermined(rng), _without_recovery(rng), _own_latents(rng)]


def _if_and_only_if(rng: np.random.Generator, instances: int = 120) -> Claim:
    wrong = repaired = 0
    for i in range(instances):
        problem, weights = random_problem(rng, "relu")
        if i % 3 == 1:
            problem = autoencoder(problem.W_p, problem.M)
            weights = basis_with_opposite(rng.standard_normal((len(problem.W_p),) * 2))
        elif i % 3 == 2:
            problem = Problem(unit_columns(5, 4, rng), unit_columns(5, 4, rng), np.array([0.0, 1, 1, 1]))
            weights = own_latents(problem, rng)
            weights.W_dec[0] = 0
        wrong += _disagrees(weights, problem)
        repaired += _disagrees(weights, replace(problem, M=np.maximum(problem.M, 0.1)))
    example = autoencoder(np.eye(2), np.array([0.0, 1.0]))
    only = Weights(np.eye(2)[1:], np.eye(2)[1:])
    return Claim(
        statement="Theorem 3.4",
        version=BOTH,
        says="L~ = 0 if and only if w_r^d = W_D sigma(W_E w_p^d) for every d.",
        checked="Both sides, of random dictionaries, of such with zero loss, and of such that only lack a feature "
        "which is never active alone.",
        instances=instances,
        violations=wrong,
        observed=f"Both sides differ in {share(wrong, instances)}, all with an M_d = 0. Assumptions 2.3 and 2.4 allow "
        "for a feature that is never active, and a parent (Definition 3.9) is never active alone.",
        counterexample="Two orthonormal features, the first with M_d = 0 and no latent: L~ = "
        f"{approximate_loss(only, example):.3g}, its residual has norm "
        f"{np.linalg.norm(residuals(only, example)[:, 0]):.3g}."
        if wrong
        else "",
        condition="M_d > 0 for every d.",
        condition_instances=instances,
        condition_violations=repaired,
    )


def _disagrees(weights: Weights, problem: Problem) -> bool:
    met = bool(np.square(residuals(weights, problem)).sum(axis=0).max() < NEARLY_ZERO)
    return met != (approximate_loss(weights, problem) < NEARLY_ZERO)


def _underdetermined(rng: np.random.Generator, instances: int = 60) -> Claim:
    fixed, few, unneeded = 0, [], 0
    for _ in range(instances):
        n = int(rng.integers(2, 5))
        problem = thresholded(Problem(unit_columns(n + 1, n, rng), unit_columns(n + 1, n, rng), np.ones(n)))
        free, _ = freedom(ground_truth(problem, n + 1), problem)
        fixed += free == 0
        free, unknowns = freedom(ground_truth(problem), problem)
        few.append(free / unknowns)
        unneeded += free > 0
    return Claim(
        statement="Theorem 3.4, consequence",
        version=BOTH,
        says="The n vector equations of eq. (16) are underdetermined when n_q > n.",
        checked="The dimension of the solutions about the ground truth with c = M, where it has zero loss, by the "
        "rank of the Jacobian.",
        instances=instances,
        violations=fixed,
        observed=f"They are so with n_q = n, too, in {share(unneeded, instances)}: {min(few):.0%} to {max(few):.0%} of "
        "the directions are free. The scale of each latent alone is one, so n_q > n is not necessary.",
    )


def _without_recovery(rng: np.random.Generator, instances: int = 60) -> Claim:
    missing, best = 0, []
    for _ in range(instances):
        problem = autoencoder(unit_columns(16, 20, rng))
        for _ in range(20):
            weights = basis_with_opposite(rng.standard_normal((16, 16)))
            if approximate_loss(weights, problem) > NEARLY_ZERO:
                continue
            found = max(float(cosines(part, problem.W_p).max()) for part in weights)
            best.append(found)
            if not recovered(found):
                break
        missing += not best or recovered(best[-1])
    return Claim(
        statement="Theorem 3.4, consequence",
        version=BOTH,
        says="Some solutions achieve zero loss without recovering any feature (Figure 4).",
        checked="Twenty features in 16 dimensions, ReLU, W_E = [A; -A] with random A: the largest cosine of any "
        f"feature with any row or column, below tau = {TAU}.",
        instances=instances,
        violations=missing,
        observed=f"Largest cosine {np.median(best):.2f} (median), with a loss of zero.",
    )


def _own_latents(rng: np.random.Generator, instances: int = 60) -> Claim:
    decoder, encoder, losses = [], [], []
    for _ in range(instances):
        problem = Problem(unit_columns(8, 6, rng), unit_columns(8, 6, rng), np.ones(6))
        W_enc = own_latents(problem, rng).W_enc
        weights = Weights(W_enc, best_decoder(W_enc, problem))
        losses.append(approximate_loss(weights, problem))
        decoder.append(float(cosines(weights.W_dec, problem.W_r).min()))
        encoder.append(float(cosines(weights.W_enc, problem.W_p).min()))
    return Claim(
        statement="Theorem 3.4, beyond the paper",
        version=BOTH,
        says="Where each feature has a latent that no other feature activates, zero loss determines the decoder.",
        checked="Random encoders with that pattern, the decoder of least loss for each: the loss, and the least "
        "cosine of a feature with its best decoder column and encoder row.",
        instances=instances,
        violations=sum(loss > NEARLY_ZERO or cosine < 1 - 1e-9 for loss, cosine in zip(losses, decoder, strict=True)),
        observed=f"Up to the scale of columns, the decoder has every feature exactly. The encoder is free: its least "
        f"cosine is {np.median(encoder):.2f} (median). Zero loss without recovery "
        "needs latents that features share, or the encoder's metric.",
    )
