"""Theorems 3.3 and 3.4 and their proofs."""

from dataclasses import replace

import numpy as np

from sdlcore.data.recovery_rule import TAU, recovered
from sdlcore.random_streams import stream
from sdlcore.sources.bench.feature_matrix import feature_matrix
from sdlcore.study.theory.audits.instances import ACTIVATIONS, PAPER_BENCHES, random_problem, share
from sdlcore.study.theory.claim import BOTH, LATER, VERSION_3, Claim
from sdlcore.study.theory.landscape import (
    Problem,
    Weights,
    approximate_loss,
    autoencoder,
    best_decoder,
    pattern,
    residuals,
    unit_columns,
)
from sdlcore.study.theory.minima import (
    GroundTruth,
    at_ground_truth,
    basis_with_opposite,
    cosines,
    exponent,
    freedom,
    ground_truth,
    interference,
    own_latents,
)

NEARLY_ZERO = 1e-12
"""Losses below count as zero."""
SIZES = [50, 100, 200, 400, 800]
RATIO = 0.768
"""n_p / n of the paper's bench."""


def claims() -> list[Claim]:
    """Check Theorems 3.3 and 3.4."""
    rng = stream(0, "theory", "minima")
    growing = [at_ground_truth(autoencoder(unit_columns(round(RATIO * n), n, rng))) for n in SIZES]
    W = feature_matrix(768, 1000, stream(0, "theory", "bench")).W.astype(float)
    bench = at_ground_truth(autoencoder(W))
    return [
        _order(growing),
        _number_active(growing, bench, rng),
        _sum_of_weights(),
        _bound(rng),
        _any_sigma(rng),
        _global(rng),
        _if_and_only_if(rng),
        _underdetermined(rng),
        _without_recovery(rng),
        _own_latents(rng),
        _later_bound(rng),
        _says_nothing(bench, rng),
    ]


def _thresholded(problem: Problem) -> Problem:
    """Return the problem with the threshold c = M, where that is positive, and above it by what products round by."""
    return replace(problem, threshold=max(interference(problem.W_p), 1e-3) * (1 + 1e-12), k=None)


def _order(growing: list[GroundTruth]) -> Claim:
    # S -> 1 and E[x_d^2] = 1: M_d / (1 - S) tends to 1, which `autoencoder` takes for M_d
    constants = [found.loss / found.interference**2 for found in growing]
    slope = exponent(SIZES, constants)
    wrong = sum(constant > 2 * constants[0] for constant in constants[1:])
    limits = [found.bound / found.interference**2 for found in growing]
    return Claim(
        "Theorem 3.3",
        VERSION_3,
        "At the ground truth L~ = O((1 - S) M^2), with a constant that does not grow with n.",
        f"L~ / ((1 - S) M^2) as S tends to 1, of autoencoders with random features, ReLU, n = {SIZES[0]} to "
        f"{SIZES[-1]}, n_p = {RATIO} n; it may double over this range and count as constant.",
        len(SIZES) - 1,
        wrong,
        f"It grows like n^{slope:.2f}: {', '.join(f'{constant:.3g}' for constant in constants)}.",
        f"n = {SIZES[-1]}: {constants[-1]:.3g}, {constants[-1] / constants[0]:.0f} times that of n = {SIZES[0]}."
        if wrong
        else "",
        "With the sum that the proof drops: L~ <= M^2 sum_d M_d (K_d - 1)^2 (eq. 64), where |w_r^d| = 1; so its "
        "constant is at most n (n - 1)^2 E[x_d^2].",
        len(growing),
        sum(
            found.loss > found.bound or limit > n * (n - 1) ** 2
            for n, found, limit in zip(SIZES, growing, limits, strict=True)
        ),
    )


def _number_active(growing: list[GroundTruth], bench: GroundTruth, rng: np.random.Generator) -> Claim:
    mean = [float(found.active.mean() - 1) for found in growing]
    at_bench = float(bench.active.mean() - 1)
    repaired = []
    for _ in range(60):
        problem = _thresholded(autoencoder(unit_columns(int(rng.integers(4, 12)), 12, rng)))
        found = at_ground_truth(problem)
        repaired.append(found.interference < 1 and (found.active == 1).all() and found.loss < NEARLY_ZERO)
    wrong = sum(value > 2 * mean[0] for value in mean[1:])
    return Claim(
        "Theorem 3.3, proof",
        VERSION_3,
        "K_d, the number of latents that a feature alone activates, is O(1).",
        "Its mean, in the same autoencoders; it may double and count as constant.",
        len(SIZES) - 1,
        wrong,
        f"K_d - 1 grows like n^{exponent(SIZES, mean):.2f}, about half of all features. The rest of the proof gives an "
        "upper bound, which stays true and says little.",
        f"The paper's bench (n = 1000, n_p = 768, M = {bench.interference:.3f}): K_d - 1 = {at_bench:.1f} on average."
        if wrong
        else "",
        "A threshold c with M <= c < 1: K_d = 1 and the loss is zero (TopK: K_d <= k).",
        len(repaired),
        sum(not good for good in repaired),
    )


def _sum_of_weights() -> Claim:
    grid = [(n, S) for n in (2, 3, 10, 100, 1000) for S in (0.9, 0.99, 0.999, 0.9999)]
    # independent features of magnitude 1
    sums = {(n, S): n * (1 - S) * S ** (n - 1) for n, S in grid}
    # within a tenth of "the probability that exactly one is active is (1 - S)"
    wrong = [point for point in grid if abs(sums[point] / (1 - point[1]) - 1) > 0.1]
    return Claim(
        "Theorem 3.3, proof",
        VERSION_3,
        "The probability that exactly one feature is active is 1 - S, so that the sum of M_d is O(1 - S).",
        "n (1 - S) S^(n-1), of independent features, within a tenth of 1 - S, for n from 2 to 1000.",
        len(grid),
        len(wrong),
        f"It is up to {max(total / (1 - S) for (_, S), total in sums.items()):.0f} times 1 - S.",
        f"n = 1000, S = .9999: {sums[1000, 0.9999]:.4f}, not .0001." if (1000, 0.9999) in wrong else "",
        "The sum of M_d is at most n (1 - S) E[x_d^2].",
        len(grid),
        sum(total > point[0] * (1 - point[1]) * (1 + 1e-12) for point, total in sums.items()),
    )


def _bound(rng: np.random.Generator, instances: int = 120) -> Claim:
    wrong = repaired = 0
    for i in range(instances):
        problem, _ = random_problem(rng, ACTIVATIONS[i % 3])
        problem = replace(problem, W_r=problem.W_r * rng.uniform(0.2, 5, problem.n))
        for unit in (False, True):
            W_r = problem.W_r / np.linalg.norm(problem.W_r, axis=0) if unit else problem.W_r
            found = at_ground_truth(replace(problem, W_r=W_r))
            # latents that a feature does not activate itself have another sum (eq. 57 to 59)
            if found.interference < 0 or not _own(problem):
                continue
            broken = bool((found.errors > found.interference * (found.active - 1) + 1e-9).any())
            wrong, repaired = wrong + (broken and not unit), repaired + (broken and unit)
    example = Problem(np.array([[1, 0.6], [0, 0.8]]), 10 * np.eye(2), np.ones(2))
    found = at_ground_truth(example)
    return Claim(
        "Theorem 3.3, proof",
        BOTH,
        "The error of a feature is at most M (K_d - 1) under Assumption 2.4 (eq. 60 to 63).",
        "Random features of input and target, the latter of norm .2 to 5, under ReLU, JumpReLU and TopK.",
        instances,
        wrong,
        f"Assumption 2.4 gives columns of W_p norm 1, but says nothing of W_r. Broken in {share(wrong, instances)}.",
        f"Two features with inner product .6, targets of norm 10: error {found.errors[0]:.3g}, bound "
        f"{found.interference * (found.active[0] - 1):.3g}."
        if wrong
        else "",
        "Columns of W_r of norm 1, too (or the bound times the largest norm).",
        instances,
        repaired,
    )


def _own(problem: Problem) -> bool:
    return bool(np.diag(pattern(problem.W_p.T, problem)).all())


def _any_sigma(rng: np.random.Generator, instances: int = 60) -> Claim:
    wrong = repaired = 0
    for _ in range(instances):
        problem = autoencoder(np.linalg.qr(rng.standard_normal((5, 5)))[0])
        for threshold in (float(rng.uniform(0, 2)), float(rng.uniform(1e-6, 1 - 1e-6))):
            loss = at_ground_truth(replace(problem, threshold=threshold)).loss
            wrong, repaired = (wrong + (loss > 1e-9), repaired) if threshold >= 1 else (wrong, repaired + (loss > 1e-9))
    return Claim(
        "Theorem 3.3",
        BOTH,
        "It holds for every sigma with sigma(z)_i in {0, z_i}.",
        "Orthonormal features, M = 0, so that the loss must be 0; thresholds between 0 and 2.",
        instances,
        wrong,
        f"The loss is the sum of M_d in {share(wrong, instances)}: a feature does not even activate its own latent.",
        f"c = 1: L~ = {at_ground_truth(autoencoder(np.eye(5), threshold=1.0)).loss:.3g} of 5 orthonormal features."
        if wrong
        else "",
        "c < 1.",
        instances,
        repaired,
    )


def _global(rng: np.random.Generator, instances: int = 60) -> Claim:
    losses, better, repaired = [], 0, 0
    for _ in range(instances):
        n_p = int(rng.integers(2, 8))
        problem = autoencoder(unit_columns(n_p, int(rng.integers(n_p, 2 * n_p + 1)), rng))
        loss = at_ground_truth(problem).loss
        other = approximate_loss(basis_with_opposite(rng.standard_normal((n_p, n_p))), problem)
        losses.append(loss)
        better += other < loss - 1e-9
        repaired += at_ground_truth(_thresholded(problem)).loss > NEARLY_ZERO
    example = autoencoder(np.array([[1, 0.6], [0, 0.8]]))
    return Claim(
        "Section 3.3",
        BOTH,
        "The ground truth is a global minimum.",
        "Autoencoders under ReLU with n_q = 2 n_p >= n: L~ there, and of W_E = [A; -A], W_D = [A^-1, -A^-1] with "
        "random A, which returns every input.",
        instances,
        better,
        f"L~ of the ground truth is {np.median(losses):.3g} (median) with all M_d = 1; the other is lower in "
        f"{share(better, instances)}.",
        f"Two features with inner product .6: L~ = {at_ground_truth(example).loss:.3g} at the ground truth, "
        f"{approximate_loss(basis_with_opposite(np.eye(2)), example):.3g} of the other."
        if better
        else "",
        "A threshold c with M <= c < 1.",
        instances,
        repaired,
    )


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
        "Theorem 3.4",
        BOTH,
        "L~ = 0 if and only if w_r^d = W_D sigma(W_E w_p^d) for every d.",
        "Both sides, of random dictionaries, of such with zero loss, and of such that only lack a feature which is "
        "never active alone.",
        instances,
        wrong,
        f"Both sides differ in {share(wrong, instances)}, all with an M_d = 0. Assumptions 2.3 and 2.4 allow for a "
        "feature that is never active, and a parent (Definition 3.9) is never active alone.",
        f"Two orthonormal features, the first with M_d = 0 and no latent: L~ = {approximate_loss(only, example):.3g}, "
        f"its residual has norm {np.linalg.norm(residuals(only, example)[:, 0]):.3g}."
        if wrong
        else "",
        "M_d > 0 for every d.",
        instances,
        repaired,
    )


def _disagrees(weights: Weights, problem: Problem) -> bool:
    met = bool(np.square(residuals(weights, problem)).sum(axis=0).max() < NEARLY_ZERO)
    return met != (approximate_loss(weights, problem) < NEARLY_ZERO)


def _underdetermined(rng: np.random.Generator, instances: int = 60) -> Claim:
    fixed, few, unneeded = 0, [], 0
    for _ in range(instances):
        n = int(rng.integers(2, 5))
        problem = _thresholded(Problem(unit_columns(n + 1, n, rng), unit_columns(n + 1, n, rng), np.ones(n)))
        free, _ = freedom(ground_truth(problem, n + 1), problem)
        fixed += free == 0
        free, unknowns = freedom(ground_truth(problem), problem)
        few.append(free / unknowns)
        unneeded += free > 0
    return Claim(
        "Theorem 3.4, consequence",
        BOTH,
        "The n vector equations of eq. (16) are underdetermined when n_q > n.",
        "The dimension of the solutions about the ground truth with c = M, where it has zero loss, by the rank of the "
        "Jacobian.",
        instances,
        fixed,
        f"They are so with n_q = n, too, in {share(unneeded, instances)}: {min(few):.0%} to {max(few):.0%} of "
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
        "Theorem 3.4, consequence",
        BOTH,
        "Some solutions achieve zero loss without recovering any feature (Figure 4).",
        f"Twenty features in 16 dimensions, ReLU, W_E = [A; -A] with random A: the largest cosine of any feature with "
        f"any row or column, below tau = {TAU}.",
        instances,
        missing,
        f"Largest cosine {np.median(best):.2f} (median), with a loss of zero.",
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
        "Theorem 3.4, beyond the paper",
        BOTH,
        "Where each feature has a latent that no other feature activates, zero loss determines the decoder.",
        "Random encoders with that pattern, the decoder of least loss for each: the loss, and the least cosine of a "
        "feature with its best decoder column and encoder row.",
        instances,
        sum(loss > NEARLY_ZERO or cosine < 1 - 1e-9 for loss, cosine in zip(losses, decoder, strict=True)),
        f"Up to the scale of columns, the decoder has every feature exactly. The encoder is free: its least "
        f"cosine is {np.median(encoder):.2f} (median). Zero loss without recovery "
        "needs latents that features share, or the encoder's metric.",
    )


def _exceeds(problem: Problem) -> bool:
    """Tell whether L~ at the ground truth is above the later revision's n^2 M^2 sum_d M_d."""
    found = at_ground_truth(problem)
    return found.loss > (problem.n * found.interference) ** 2 * problem.M.sum() + 1e-9


def _nearly_orthonormal(rng: np.random.Generator, n: int = 5) -> Problem:
    """Draw an autoencoder of features so nearly orthonormal that n M < 1."""
    while True:
        W = np.eye(n) + rng.uniform(0, 0.1) * rng.standard_normal((n, n))
        problem = autoencoder(W / np.linalg.norm(W, axis=0), rng.uniform(0.2, 2, n))
        if 0 < n * interference(problem.W_p) < 1:
            return problem


def _later_bound(rng: np.random.Generator, instances: int = 180) -> Claim:
    wrong = {"targets": 0, "threshold": 0}
    repaired, tried, reached = 0, 0, []
    for i in range(instances):
        problem, _ = random_problem(rng, ACTIVATIONS[i % 3])
        if interference(problem.W_p) < 0 or not _own(problem):
            continue
        tried += 1
        wrong["targets"] += _exceeds(replace(problem, W_r=problem.W_r * rng.uniform(0.2, 5, problem.n)))
        repaired += _exceeds(problem)
        found = at_ground_truth(problem)
        reached.append(found.loss / (problem.n * found.interference) ** 2 / problem.M.sum())
    silent = [replace(_nearly_orthonormal(rng), threshold=float(rng.uniform(1, 2))) for _ in range(tried)]
    wrong["threshold"] = sum(_exceeds(problem) for problem in silent)
    long = Problem(np.array([[1, 0.6], [0, 0.8]]), 10 * np.eye(2), np.ones(2))
    found = at_ground_truth(long)
    return Claim(
        "Theorem 3.3",
        LATER,
        "At the ground truth L~ <= n^2 M^2 sum_d M_d, for every sigma with sigma(z)_i in {0, z_i}.",
        "Random problems under ReLU, JumpReLU and TopK whose targets have norms of .2 to 5, and nearly orthonormal "
        "features under thresholds of 1 to 2.",
        2 * tried,
        sum(wrong.values()),
        f"Broken by long targets in {share(wrong['targets'], tried)}, by such thresholds, which silence a feature's "
        f"own latent, in {share(wrong['threshold'], tried)}. It takes |w_r^d| = 1 and a sigma that lets a "
        f"feature's own latent pass; neither is assumed. With both, {max(reached):.2g} of it is reached at most.",
        f"Two features with inner product .6, targets of norm 10, M_d = 1: L~ = {found.loss:.3g}, the bound is "
        f"{(2 * found.interference) ** 2 * 2:.3g}."
        if wrong["targets"]
        else "",
        "Columns of W_r of norm 1, and features that activate their own latents.",
        tried,
        repaired,
    )


def _says_nothing(bench: GroundTruth, rng: np.random.Generator, instances: int = 60) -> Claim:
    benches = list(dict.fromkeys((n, M) for n, _, M in PAPER_BENCHES))
    factors = {each: (each[0] * each[1]) ** 2 for each in benches}
    wrong = sum(factor >= 1 for factor in factors.values())
    repaired = 0
    for _ in range(instances):
        problem = _nearly_orthonormal(rng)
        zeros = Weights(np.zeros((1, problem.n)), np.zeros((1, problem.n)))
        repaired += at_ground_truth(problem).loss > approximate_loss(zeros, problem) or _exceeds(problem)
    return Claim(
        "Theorem 3.3, on the bench",
        LATER,
        "Its bound is below sum_d M_d, which is the loss of a decoder of zeros.",
        "n and M of Tables 1, 4 and 5.",
        len(benches),
        wrong,
        f"The bound is {min(factors.values()):,.0f} to {max(factors.values()):,.0f} times that. L~ of the ground truth "
        f"itself is {bench.loss / len(bench.active):.2f} of it under ReLU with equal M_d (n = 1000, n_p = 768).",
        f"n = 1000, M = .1: n^2 M^2 = {factors[1000, 0.1]:,.0f}." if factors[1000, 0.1] >= 1 else "",
        "n M < 1: features that are nearly orthonormal.",
        instances,
        repaired,
    )
