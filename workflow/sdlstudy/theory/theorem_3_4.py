"""Theorem 3.4: L~ = 0 if and only if w_r^d = W_D sigma(W_E w_p^d) for every d.

The paper concludes that these equations are underdetermined for n_q > n, and that some solutions recover no feature
(Figure 4).
"""

from dataclasses import replace

import numpy as np

from sdlcore.data.recovery_rule import TAU, recovered
from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, autoencoder, residuals
from sdlstudy.theory.claims import BOTH, PROJECT, Claim, share
from sdlstudy.theory.exact_loss import ONE, hierarchy, independent, single_weights
from sdlstudy.theory.landscape import pattern, random_problem, unit_columns, with_best_decoder
from sdlstudy.theory.theorem_3_3 import NEARLY_ZERO, basis_with_opposite, ground_truth, thresholded


def cosines(rows: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return the largest absolute cosine of each feature (n) with any row (n_q x dimension)."""
    return np.abs((rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ W).max(axis=0)


def own_latents(problem: Problem, rng: np.random.Generator) -> Weights:
    """Return random weights of zero loss with a latent for each feature that no other feature activates.

    Input features must be linearly independent, target features unit vectors. Such a decoder is unique up to the scale
    of each column; encoder rows are free as long as they keep other features silent.
    """
    z = -rng.exponential(size=(problem.n, problem.n))
    pre_activations = problem.threshold + rng.exponential(size=problem.n) + 0.1
    np.fill_diagonal(z, pre_activations)
    return Weights(z @ np.linalg.pinv(problem.W_p), problem.W_r.T / pre_activations[:, None])


def freedom(weights: Weights, problem: Problem) -> tuple[int, int]:
    """Return the number of weight directions that leave all residuals unchanged to first order, and of all directions.

    The pattern is held fixed. At a zero of the loss the former is the dimension of a smooth set of solutions.
    """
    active = pattern(weights.W_enc, problem)
    z_QD = active * (weights.W_enc @ problem.W_p)
    encoder = np.einsum("qd,qr,pd->drqp", active, weights.W_dec, problem.W_p)
    decoder = np.einsum("qd,rs->drqs", z_QD, np.eye(len(problem.W_r)))
    equations = problem.n * len(problem.W_r)
    jacobian = np.hstack([encoder.reshape(equations, -1), decoder.reshape(equations, -1)])
    unknowns = jacobian.shape[1]
    return unknowns - int(np.linalg.matrix_rank(jacobian, tol=1e-9)), unknowns


def check(rng: np.random.Generator) -> list[Claim]:
    """Check Theorem 3.4 and its consequences."""
    return [_positive_weights(), _if_and_only_if(rng), _underdetermined(rng), _without_recovery(rng), _own_latents(rng)]


def _positive_weights() -> Claim:
    grid = [(children, q) for children in (2, 3, 4, 5) for q in (0.5, 0.1, 0.01, 1e-3)]
    family = [single_weights(hierarchy(children, q)) for children, q in grid]
    alone = [single_weights(independent(children + 1, q, ONE, ONE)) for children, q in grid]
    return Claim(
        "Theorem 3.4, proof, with Definition 3.9",
        BOTH,
        says="Each M_d is positive.",
        checked="M_d of a parent and two to five children, over all states.",
        false=[M.min() <= 0 for M in family],
        observed=f"All of them are 0 in {share([M.max() <= 0 for M in family])}: a parent is active if and only if a "
        "child is, so no feature is ever active alone. For features in a hierarchy, Theorems 3.1 to 3.10 are "
        "about a loss that is zero for every dictionary.",
        counterexample="A parent and two children, S = .99: M = ("
        + ", ".join(f"{value:.3g}" for value in single_weights(hierarchy(2, 0.01)))
        + ").",
        condition="The same number of independent features that are all active at times.",
        condition_source="Assumption 2.4",
        false_then=[M.min() <= 0 for M in alone],
    )


def _if_and_only_if(rng: np.random.Generator, instances: int = 120) -> Claim:
    def differs(weights: Weights, problem: Problem) -> bool:
        reconstructed = bool(np.square(residuals(weights, problem)).sum(axis=0).max() < NEARLY_ZERO)
        return reconstructed != (approximate_loss(weights, problem) < NEARLY_ZERO)

    false, positive = [], []
    for i in range(instances):
        problem, weights = random_problem(rng, "relu")
        if i % 3 == 1:
            problem = autoencoder(problem.W_p, problem.M)
            weights = basis_with_opposite(rng.standard_normal((len(problem.W_p),) * 2))
        elif i % 3 == 2:
            problem = Problem(unit_columns(5, 4, rng), unit_columns(5, 4, rng), np.array([0.0, 1, 1, 1]))
            weights = own_latents(problem, rng)
            weights.W_dec[0] = 0
        false.append(differs(weights, problem))
        positive.append(differs(weights, replace(problem, M=np.maximum(problem.M, 0.1))))
    example, only = autoencoder(np.eye(2), np.array([0.0, 1.0])), Weights(np.eye(2)[1:], np.eye(2)[1:])
    return Claim(
        "Theorem 3.4",
        BOTH,
        says="L~ = 0 if and only if w_r^d = W_D sigma(W_E w_p^d) for every d.",
        checked="Both sides, for random dictionaries, for dictionaries of zero loss, and for dictionaries that only "
        "miss a feature which is never active alone.",
        false=false,
        observed=f"Both sides differ in {share(false)}, all with an M_d = 0. Assumptions 2.3 and 2.4 allow a "
        "feature that is never active, and a parent (Definition 3.9) is never active alone.",
        counterexample="Two orthonormal features, the first with M_d = 0 and no latent: L~ = "
        f"{approximate_loss(only, example):.3g}, its residual has norm "
        f"{np.linalg.norm(residuals(only, example)[:, 0]):.3g}.",
        condition="M_d > 0 for every d.",
        condition_source="proof of Theorem 3.4",
        false_then=positive,
    )


def _underdetermined(rng: np.random.Generator, instances: int = 60) -> Claim:
    fixed, few, beyond = [], [], []
    for _ in range(instances):
        n = int(rng.integers(2, 5))
        problem = thresholded(Problem(unit_columns(n + 1, n, rng), unit_columns(n + 1, n, rng), np.ones(n)))
        # the scales of n latents and the spare latent's weights are always free, so they show nothing
        trivial = n + 2 * (n + 1)
        fixed.append(freedom(ground_truth(problem, spare=1), problem)[0] <= trivial)
        free, unknowns = freedom(ground_truth(problem), problem)
        few.append(free / unknowns)
        beyond.append((free - n) / unknowns)
    return Claim(
        "Theorem 3.4, consequence",
        BOTH,
        says="The n vector equations of eq. (16) are underdetermined when n_q > n.",
        checked="The dimension of the set of solutions around the ground truth with c = M, where it has zero loss, by "
        "the rank of the Jacobian. The scales of latents and the weights of the spare latent, which are always free, "
        "do not count.",
        false=fixed,
        observed=f"They are underdetermined with n_q = n, too, in {share([each > 0 for each in beyond])}: "
        f"{np.median(few):.0%} of the directions are free, and {min(beyond):.0%} to {max(beyond):.0%} without the "
        "scales of latents (encoder rows can turn), so n_q > n is not necessary.",
    )


def _without_recovery(rng: np.random.Generator, instances: int = 60) -> Claim:
    best = []
    for _ in range(instances):
        problem = autoencoder(unit_columns(16, 20, rng))
        best_cosines: list[float] = []
        while len(best_cosines) < 20 and (not best_cosines or recovered(best_cosines[-1])):
            weights = basis_with_opposite(rng.standard_normal((16, 16)))
            lost = approximate_loss(weights, problem) > NEARLY_ZERO
            best_cosines.append(1.0 if lost else max(float(cosines(part, problem.W_p).max()) for part in weights))
        best.append(best_cosines[-1])
    return Claim(
        "Theorem 3.4, consequence",
        BOTH,
        says="Some solutions achieve zero loss without recovering any feature (Figure 4).",
        checked="Twenty features in 16 dimensions, ReLU, W_E = [A; -A] with random A: the largest cosine of any "
        f"feature with any row or column, below tau = {TAU}.",
        false=[bool(recovered(each)) for each in best],
        observed=f"Largest cosine {np.median(best):.2f} (median), with a loss of zero.",
    )


def _own_latents(rng: np.random.Generator, instances: int = 60) -> Claim:
    false, encoder = [], []
    for _ in range(instances):
        problem = Problem(unit_columns(8, 6, rng), unit_columns(8, 6, rng), np.ones(6))
        weights = with_best_decoder(own_latents(problem, rng).W_enc, problem)
        decoder = cosines(weights.W_dec, problem.W_r).min()
        false.append(approximate_loss(weights, problem) > NEARLY_ZERO or bool(decoder < 1 - 1e-9))
        encoder.append(cosines(weights.W_enc, problem.W_p).min())
    return Claim(
        "Theorem 3.4, beyond the paper",
        BOTH,
        origin=PROJECT,
        says="Where each feature has a latent that no other feature activates, zero loss determines the decoder.",
        checked="Random encoders with that pattern, the decoder of least loss for each: the loss, and the least cosine "
        "of a feature with its best decoder column and encoder row.",
        false=false,
        observed="Up to the scale of columns, the decoder recovers every feature exactly. The encoder is free: its "
        f"least cosine is {np.median(encoder):.2f} (median). Zero loss without recovery needs latents that features "
        "share, or a metric of the encoder.",
    )
