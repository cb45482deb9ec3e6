"""Theorem 3.4: L~ = 0 if and only if w_r^d = W_D sigma(W_E w_p^d) for every d.

The paper concludes that these equations are underdetermined for n_q > n, and that some solutions recover no feature
(Figure 4).
"""

from dataclasses import replace

import numpy as np

from sdlcore.data.recovery_rule import recovered
from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, autoencoder, residuals
from sdlstudy.theory.claims import Result, share
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


def check(rng: np.random.Generator) -> list[Result]:
    """Check Theorem 3.4 and its consequences."""
    return [_positive_weights(), _if_and_only_if(rng), _underdetermined(rng), _without_recovery(rng), _own_latents(rng)]


def _positive_weights() -> Result:
    grid = [(children, q) for children in (2, 3, 4, 5) for q in (0.5, 0.1, 0.01, 1e-3)]
    family = [single_weights(hierarchy(children, q)) for children, q in grid]
    alone = [single_weights(independent(children + 1, q, ONE, ONE)) for children, q in grid]
    return Result(
        "theorem_3_4.positive_weights",
        [M.min() <= 0 for M in family],
        observed=[share([M.max() <= 0 for M in family])],
        counterexample=[", ".join(f"{value:.3g}" for value in single_weights(hierarchy(2, 0.01)))],
        false_then=[M.min() <= 0 for M in alone],
    )


def _if_and_only_if(rng: np.random.Generator, instances: int = 120) -> Result:
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
    return Result(
        "theorem_3_4.if_and_only_if",
        false,
        observed=[share(false)],
        counterexample=[approximate_loss(only, example), np.linalg.norm(residuals(only, example)[:, 0])],
        false_then=positive,
    )


def _underdetermined(rng: np.random.Generator, instances: int = 60) -> Result:
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
    return Result(
        "theorem_3_4.underdetermined",
        fixed,
        observed=[share([each > 0 for each in beyond]), np.median(few), min(beyond), max(beyond)],
    )


def _without_recovery(rng: np.random.Generator, instances: int = 60) -> Result:
    best = []
    for _ in range(instances):
        problem = autoencoder(unit_columns(16, 20, rng))
        best_cosines: list[float] = []
        while len(best_cosines) < 20 and (not best_cosines or recovered(best_cosines[-1])):
            weights = basis_with_opposite(rng.standard_normal((16, 16)))
            lost = approximate_loss(weights, problem) > NEARLY_ZERO
            best_cosines.append(1.0 if lost else max(float(cosines(part, problem.W_p).max()) for part in weights))
        best.append(best_cosines[-1])
    return Result("theorem_3_4.without_recovery", [bool(recovered(each)) for each in best], observed=[np.median(best)])


def _own_latents(rng: np.random.Generator, instances: int = 60) -> Result:
    false, encoder = [], []
    for _ in range(instances):
        problem = Problem(unit_columns(8, 6, rng), unit_columns(8, 6, rng), np.ones(6))
        weights = with_best_decoder(own_latents(problem, rng).W_enc, problem)
        decoder = cosines(weights.W_dec, problem.W_r).min()
        false.append(approximate_loss(weights, problem) > NEARLY_ZERO or bool(decoder < 1 - 1e-9))
        encoder.append(cosines(weights.W_enc, problem.W_p).min())
    return Result("theorem_3_4.own_latents", false, observed=[np.median(encoder)])
