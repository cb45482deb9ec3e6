"""Example 3.8 (3.7 of the later revision): feature absorption.

Four breeds of dog, a cat, a horse and an elephant: a latent for one breed and another for the remaining three is a
pattern that training can get stuck in. One latent for all four breeds is called ideal.
"""

import numpy as np

from sdlstudy.theory.approximate_loss import Problem, approximate_loss, autoencoder
from sdlstudy.theory.claims import Result, share
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


def check(rng: np.random.Generator, instances: int = 20) -> Result:
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
        loss, end_loss = approximate_loss(weights, problem), approximate_loss(end, problem)
        in_region = all((pattern(each.W_enc, problem) == target_pattern).all() for each in (weights, end))
        stuck = local and gradient_norm(weights, problem) < 1e-9 and abs(end_loss - loss) < 1e-3
        false.append(not (stuck and in_region and loss > 0))
        losses.append((loss, approximate_loss(whole[0], problem)))
    absorbed, together = np.median(losses, axis=0)
    return Result(
        "example_3_8.absorption",
        false,
        observed=[
            absorbed,
            share([not wrong for wrong in false]),
            together,
            share([split < whole for split, whole in losses]),
        ],
    )
