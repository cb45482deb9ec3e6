"""Example 3.5: a spurious partial minimum.

Two orthogonal features, Top-1, M_1 = M_2 = 1. One latent with W_E = (1, 1) and W_D = (1/2, 1/2) for both features, and
a dead latent, are a partial minimum with L~ = 1, where training is stuck.
"""

import numpy as np

from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, autoencoder
from sdlstudy.theory.claims import Result, share
from sdlstudy.theory.landscape import alternate, descend, gradient_norm, perturbed


def example_3_5(dead: float = 0.0, k: int | None = 1) -> tuple[Problem, Weights]:
    """Return Example 3.5; the dead latent has pre-activations ``dead`` for both features."""
    half = np.array([[0.5, 0.5], [0.0, 0.0]])
    return autoencoder(np.eye(2), k=k), Weights(np.array([[1.0, 1.0], [dead, dead]]), half)


def check(rng: np.random.Generator) -> list[Result]:
    """Check Example 3.5."""
    return [_is_partial_minimum(), _traps(rng)]


def _is_partial_minimum() -> Result:
    problem, weights = example_3_5()
    loss, slope = approximate_loss(weights, problem), gradient_norm(weights, problem)
    return Result(
        "example_3_5.is_partial_minimum",
        [abs(loss - 1) > 1e-12 or slope > 1e-9 or alternate(weights, problem, 10).left_after is not None],
        observed=[loss, slope],
    )


def _traps(rng: np.random.Generator, starts: int = 30) -> Result:
    def escaped(dead: float, k: int | None) -> list[bool]:
        problem, weights = example_3_5(dead, k)
        ends = [approximate_loss(descend(perturbed(weights, rng), problem, 2000), problem) for _ in range(starts)]
        return [abs(end - 1) > 1e-3 for end in ends]

    top_1, relu, relu_dead = escaped(0.0, 1), escaped(0.0, None), escaped(-0.5, None)
    return Result("example_3_5.traps", top_1, observed=[share(top_1), share(relu), share(relu_dead)])
