"""Example 3.8 (3.7 of the later revision): feature absorption.

**Statement.** Four breeds of dog, a cat, a horse and an elephant: a latent for one breed and another for the remaining
three is a pattern that training can get stuck in. One latent for all four breeds is called ideal.

**Check.** The stationary point with either pattern: gradients, loss, and gradient descent from near it.

**What holds.** The pattern is a local minimum. The pattern loses less than one latent for all breeds, so absorption is
a step from one latent towards a latent for each breed, which loses nothing.
"""

import numpy as np

from sdlstudy.theory.approximate_loss import Problem, approximate_loss, autoencoder
from sdlstudy.theory.claims import BOTH, Claim, share
from sdlstudy.theory.landscape import descend, gradient_norm, pattern, perturbed
from sdlstudy.theory.partial_minima import Groups, groups_to_pattern, partial_minimum

WHOLE: Groups = [[0, 1, 2, 3], [4], [5], [6], [], [], []]
"""One latent for all breeds, and seven latents in all."""
ABSORBED: Groups = [[1, 2, 3], [0], [4], [5], [6], [], []]
"""The first breed has a latent of its own."""


def dogs(rng: np.random.Generator) -> Problem:
    """Return seven unit features of 16 dimensions: four breeds about a common direction, and three other animals.

    A breed is the unit direction "dog" plus noise of norm about 1, so inner products of breeds are about a half; breeds
    are drawn again until all of these are positive.
    """
    dimension = 16
    dog = rng.standard_normal(dimension)
    unit = dog / np.linalg.norm(dog)
    while True:
        breeds = unit[:, None] + rng.standard_normal((dimension, 4)) / np.sqrt(dimension)
        breeds /= np.linalg.norm(breeds, axis=0)
        if (breeds.T @ breeds > 0).all():
            break
    others = rng.standard_normal((dimension, 3))
    return autoencoder(np.hstack([breeds, others / np.linalg.norm(others, axis=0)]))


def claims(rng: np.random.Generator, instances: int = 20) -> list[Claim]:
    """Check Example 3.8."""
    false, losses, target_pattern = [], [], groups_to_pattern(ABSORBED, 7)
    for _ in range(instances):
        problem = dogs(rng)
        solution, whole = (partial_minimum(groups, problem) for groups in (ABSORBED, WHOLE))
        if solution is None or whole is None:
            false.append(True)
            continue
        weights, local = solution
        end = descend(perturbed(weights, rng), problem)
        loss = approximate_loss(weights, problem)
        stays = (pattern(end.W_enc, problem) == target_pattern).all() and abs(
            approximate_loss(end, problem) - loss
        ) < 1e-3
        stationary = (
            gradient_norm(weights, problem) < 1e-9 and (pattern(weights.W_enc, problem) == target_pattern).all()
        )
        false.append(not (local and stationary and stays and loss > 0))
        losses.append((loss, approximate_loss(whole[0], problem)))
    absorbed, together = np.median(losses, axis=0)
    claim = Claim(
        "Example 3.8",
        BOTH,
        says="A latent for one breed and another for the remaining three is a pattern in which training gets stuck.",
        checked="Four breeds about a common direction and three other animals, ReLU; the point of Theorem 3.7 with "
        "this pattern: gradients, loss, pattern, and gradient descent from near it.",
        false=false,
        observed=f"Stuck at a loss of {absorbed:.3g} (median) in {share([not wrong for wrong in false])}. One latent "
        f"for all four breeds, which the paper calls ideal, loses {together:.3g}, with one active latent less: more in "
        f"{share([split < whole for split, whole in losses])}. Absorption is a step from there towards one latent for "
        "each breed, whose loss is zero.",
    )
    return [claim]
