"""Theorem 3.1 of version 3: |L - L~| = O((1 - S)^2), where L~ = sum_d M_d || w_r^d - W_D sigma(W_E w_p^d) ||^2.

The proof needs sigma(a z) = a sigma(z) for a > 0 (ReLU, TopK). Then at every S

    0 <= L - L~ <= n (n - 1) E[x_d^2 | x_d > 0] (|W_r| + |W_D| |W_E W_p|)^2 (1 - S)^2.

L and L~ differ only in states with two or more active features. |sigma(z)| <= |z| bounds the error of a state by (|W_r|
+ |W_D| |W_E W_p|)^2 |x|^2, and E[|x|^2; two or more active] <= n (n - 1) (1 - S)^2 E[x_d^2 | x_d > 0], since each
active feature needs another one.

The later revision states |L - L~| <= n^2 C (1 - S)^2 if 1 - S <= 1/n, with C the supremum of the squared error, by a
union bound over pairs of features. It no longer assumes that features are independent.
"""

import numpy as np

from sdlstudy.theory import exact_loss as exact
from sdlstudy.theory.approximate_loss import Problem, Weights, autoencoder
from sdlstudy.theory.claims import Result, share
from sdlstudy.theory.exact_loss import ONE, SPARSE, States
from sdlstudy.theory.landscape import ACTIVATIONS, random_problem

Drawn = list[tuple[str, Problem, Weights]]
"""Activations, each with a problem and a dictionary."""


def draw(rng: np.random.Generator, instances: int = 240) -> Drawn:
    """Return random instances, a third each with ReLU, JumpReLU and TopK."""
    return [(name, *random_problem(rng, name)) for name in (ACTIVATIONS[i % 3] for i in range(instances))]


def check(drawn: Drawn, rng: np.random.Generator) -> list[Result]:
    """Check version 3's theorem and its proof."""
    return [_rate(drawn), _constant(drawn, rng), _several(), _definition(drawn), _hierarchy(rng)]


def _not_quadratic(exponents: list[float]) -> list[bool]:
    # an exponent above 2.1 also comes from a term of order 1 - S, if the other terms nearly cancel it at these S
    return [not 1.9 < exponent < 2.1 for exponent in exponents]


def _exponent(pair: tuple[exact.Losses, exact.Losses]) -> float:
    """Return the exponent of |L - L~| in 1 - S, from the losses at both values of `SPARSE`."""
    return exact.rate(pair[0].difference, pair[1].difference)


def _rate(drawn: Drawn) -> Result:
    exponents: dict[str, list[float]] = {name: [] for name in ACTIVATIONS}
    inside, constants, limits = [], [], []
    for name, problem, weights in drawn:
        larger, smaller = exact.at_sparse(weights, problem)
        exponents[name].append(_exponent((larger, smaller)))
        inside.append(exact.rate(larger.several, smaller.several))
        if name != "jumprelu":
            limit = exact.pair_constant(weights, problem)
            limits.append(smaller.difference / SPARSE[1] ** 2 / limit)
            constants.append(limit / (problem.n * (problem.n - 1) / 2))
    jumprelu, homogeneous = exponents["jumprelu"], exponents["relu"] + exponents["topk"]
    unit = np.ones((1, 1))
    example = exact.losses(Weights(unit, unit), Problem(unit, unit, ONE, 0.7), exact.independent(1, 0.01))
    return Result(
        "theorem_3_1.rate",
        _not_quadratic(homogeneous + jumprelu),
        observed=[np.median(homogeneous), np.median(jumprelu), min(limits), max(limits), np.median(constants)],
        counterexample=[share(_not_quadratic(jumprelu)), example.exact, example.approximate],
        false_then=_not_quadratic(homogeneous + inside),
    )


def _constant(drawn: Drawn, rng: np.random.Generator) -> Result:
    ratios = []
    for name, problem, weights in drawn:
        q = float(10 ** rng.uniform(-3, 0))
        loss = exact.losses(weights, problem, exact.independent(problem.n, q))
        beyond = loss.several if name == "jumprelu" else loss.difference
        C = problem.n * (problem.n - 1) * exact.SECOND_MOMENT * exact.error_norm(weights, problem) ** 2
        ratios.append(beyond / q**2 / C)
    return Result(
        "theorem_3_1.constant", [not -1e-12 <= ratio <= 1 for ratio in ratios], observed=[min(ratios), max(ratios)]
    )


def _several() -> Result:
    grid = [(n, q) for n in (2, 3, 5, 10, 30, 100, 300, 1000) for q in (0.5, 0.1, 0.01, 1e-3, 1e-4)]
    false = [exact.several_chance(n, q) > q**2 * (1 + 1e-9) for n, q in grid]
    return Result(
        "theorem_3_1.several",
        false,
        observed=[share(false)],
        counterexample=[exact.several_chance(1000, 0.01), 0.01**2],
        false_then=[exact.several_chance(n, q) > n * (n - 1) / 2 * q**2 * (1 + 1e-9) for n, q in grid],
    )


def _definition(drawn: Drawn) -> Result:
    homogeneous = [(problem, weights) for name, problem, weights in drawn if name != "jumprelu"]
    exponents = {}
    for literal in (True, False):
        pairs = [exact.at_sparse(weights, problem, literal=literal) for problem, weights in homogeneous]
        exponents[literal] = [_exponent(pair) for pair in pairs]
    zero = np.zeros((1, 1))
    example = exact.losses(
        Weights(zero, zero), autoencoder(np.ones((1, 1))), exact.independent(1, 0.01, ONE, ONE), literal=True
    )
    return Result(
        "theorem_3_1.definition",
        _not_quadratic(exponents[True]),
        observed=[np.median(exponents[True])],
        counterexample=[example.exact, example.approximate],
        false_then=_not_quadratic(exponents[False]),
    )


def _hierarchy(rng: np.random.Generator, instances: int = 60) -> Result:
    exponents: list[float] = []
    apart: list[float] = []
    for _ in range(instances):
        children = int(rng.integers(2, 5))
        problem, weights = random_problem(rng, "relu")
        while problem.n != children + 1:
            problem, weights = random_problem(rng, "relu")
        exponents.append(_exponent(exact.at_sparse(weights, problem, lambda n, q: exact.hierarchy(n - 1, q))))
        apart.append(_exponent(exact.at_sparse(weights, problem, lambda n, q: exact.independent(n, q, ONE, ONE))))
    example = exact.losses(Weights(np.eye(3)[1:], np.eye(3)[1:]), autoencoder(np.eye(3)), exact.hierarchy(2, 0.01))
    return Result(
        "theorem_3_1.hierarchy",
        _not_quadratic(exponents),
        observed=[np.median(exponents)],
        counterexample=[example.exact, example.approximate],
        false_then=_not_quadratic(apart),
    )


def check_later(drawn: Drawn, rng: np.random.Generator) -> list[Result]:
    """Check the later revision's theorem and its proof on the same dictionaries."""
    return [_union_bound(drawn, rng), _dependent(drawn, rng), _several_pairs()]


def _sides(weights: Weights, problem: Problem, states: States, q: float) -> tuple[float, float]:
    """Return |L - L~| and n^2 C (1 - S)^2, both relative to C, the largest squared error of any state."""
    largest = float(exact.state_errors(weights, problem, states).max())
    return abs(exact.losses(weights, problem, states).difference) / largest, (problem.n * q) ** 2


def _reached(weights: Weights, problem: Problem, states: States, q: float) -> float:
    """Return |L - L~| as a share of its bound."""
    return float(np.divide(*_sides(weights, problem, states, q)))


def _exceeded(reached: list[float]) -> list[bool]:
    return [ratio > 1 + 1e-9 for ratio in reached]


def _sparse_enough(problem: Problem, rng: np.random.Generator) -> float:
    """Draw 1 - S <= 1/n."""
    return float(10 ** rng.uniform(-6, 0)) / problem.n


def _union_bound(drawn: Drawn, rng: np.random.Generator) -> Result:
    reached: dict[str, list[float]] = {name: [] for name in ACTIVATIONS}
    for name, problem, weights in drawn:
        q = _sparse_enough(problem, rng)
        reached[name].append(_reached(weights, problem, exact.independent(problem.n, q), q))
    homogeneous = reached["relu"] + reached["topk"]
    unit = np.ones((1, 1))
    error, bound = _sides(Weights(unit, unit), Problem(unit, unit, ONE, 0.7), exact.independent(1, 0.01), 0.01)
    return Result(
        "theorem_3_1.union_bound",
        _exceeded(homogeneous + reached["jumprelu"]),
        observed=[max(homogeneous)],
        counterexample=[share(_exceeded(reached["jumprelu"])), error, bound],
        false_then=_exceeded(homogeneous),
    )


def _dependent(drawn: Drawn, rng: np.random.Generator) -> Result:
    always, never = [], []
    for name, problem, weights in drawn:
        if name == "relu":
            q = _sparse_enough(problem, rng)
            always.append(_reached(weights, problem, exact.together(problem.n, q), q))
            never.append(_reached(weights, problem, exact.exclusive(problem.n, q), q))
    broken, zero = _exceeded(always), np.zeros((1, 2))
    error, bound = _sides(Weights(zero, zero), autoencoder(np.eye(2)), exact.together(2, 0.01), 0.01)
    return Result(
        "theorem_3_1.dependent",
        broken,
        observed=[share(broken)],
        counterexample=[error, bound],
        false_then=_exceeded(never),
    )


def _several_pairs() -> Result:
    grid = [(n, p) for n in (2, 3, 5, 10, 30, 100, 1000) for p in (0.3, 0.1, 0.01, 1e-3, 1e-4)]
    # either all n features are active, or no feature is
    false = [p > (n * p) ** 2 for n, p in grid]
    return Result(
        "theorem_3_1.several_pairs",
        false,
        observed=[share(false)],
        counterexample=[4 * 0.01**2],
        false_then=[exact.several_chance(n, p) > (n * p) ** 2 for n, p in grid],
    )
