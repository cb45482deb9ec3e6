"""Example 3.5 and Theorem 3.7."""

import numpy as np

from sdlcore.streams import stream
from sdlcore.theory.audits.instances import share
from sdlcore.theory.claim import Claim
from sdlcore.theory.landscape import (
    alternate,
    approximate_loss,
    autoencoder,
    descend,
    gradient_norm,
    perturbed,
)
from sdlcore.theory.spurious import example_3_5

GRADIENT = 1e-9
"""Largest entry of a gradient that counts as zero."""


def claims() -> list[Claim]:
    """Check Example 3.5 and Theorem 3.7."""
    rng = stream(0, "theory", "spurious")
    return [_example(), _example_traps(rng)]


def _example() -> Claim:
    problem, weights = example_3_5()
    loss, slope = approximate_loss(weights, problem), gradient_norm(weights, problem)
    wrong = abs(loss - 1) > 1e-12 or slope > GRADIENT or alternate(weights, problem, 10).left_after is not None
    return Claim(
        "Example 3.5",
        "One latent for two orthogonal features under Top-1 is a partial minimum with loss 1.",
        "The loss, both gradients through the package's model, and ten rounds of alternating minimisation from there.",
        1,
        int(wrong),
        f"Loss {loss:.3g}, largest entry of the gradients {slope:.3g}.",
    )


def _example_traps(rng: np.random.Generator, starts: int = 40) -> Claim:
    escaped = {}
    for name, dead, k in (("top-1", 0.0, 1), ("relu", 0.0, None), ("relu, dead", -0.5, None)):
        weights = example_3_5(dead)[1]
        problem = autoencoder(np.eye(2), k=k)
        ends = [approximate_loss(descend(perturbed(weights, rng), problem), problem) for _ in range(starts)]
        escaped[name] = sum(abs(end - 1) > 1e-3 for end in ends)
    return Claim(
        "Example 3.5",
        "Gradient descent is trapped there.",
        "Gradient descent under Top-1 from starts that are perturbed by noise of standard deviation .001.",
        starts,
        escaped["top-1"],
        f"Away from loss 1 came {share(escaped['top-1'], starts)}. Gradients vanish under ReLU alone, too, but "
        "there the dead latent's row of zeros lies on the border of its region, noise makes it fire, and it takes one "
        f"of the features: {share(escaped['relu'], starts)} escaped. With a dead latent whose pre-activations are -.5, "
        f"{share(escaped['relu, dead'], starts)} did.",
    )
