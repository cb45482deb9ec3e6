"""Example 3.8 and Theorem 3.10."""

import numpy as np

from sdlcore.streams import stream
from sdlcore.theory.absorption import dog_groups, dogs
from sdlcore.theory.audits.instances import share
from sdlcore.theory.claim import Claim
from sdlcore.theory.landscape import approximate_loss, descend, gradient_norm, pattern, perturbed
from sdlcore.theory.spurious import groups_to_pattern, partial_minimum

GRADIENT = 1e-9


def claims() -> list[Claim]:
    """Check Example 3.8 and Theorem 3.10."""
    rng = stream(0, "theory", "absorption")
    return [_example(rng)]


def _example(rng: np.random.Generator, instances: int = 20) -> Claim:
    wrong, losses = 0, []
    wanted = groups_to_pattern(dog_groups(absorbed=True), 7)
    for _ in range(instances):
        problem = dogs(rng)
        found, whole = (partial_minimum(dog_groups(absorbed), problem) for absorbed in (True, False))
        if found is None or whole is None:
            wrong += 1
            continue
        weights, local = found
        end = descend(perturbed(weights, rng), problem)
        loss = approximate_loss(weights, problem)
        stays = (pattern(end.W_enc, problem) == wanted).all() and abs(approximate_loss(end, problem) - loss) < 1e-3
        at_it = gradient_norm(weights, problem) < GRADIENT and (pattern(weights.W_enc, problem) == wanted).all()
        wrong += not (local and at_it and stays and loss > 0)
        losses.append((loss, approximate_loss(whole[0], problem)))
    absorbed, whole_loss = np.median(losses, axis=0) if losses else (np.nan, np.nan)
    less = sum(one < other for one, other in losses)
    return Claim(
        "Example 3.8",
        "A latent for one breed and another for the remaining three is a pattern that training is stuck in.",
        "Four breeds about a common direction and three other animals, ReLU; the point of Theorem 3.7 with this "
        "pattern: gradients, loss, pattern, and gradient descent from near it.",
        instances,
        wrong,
        f"Stuck at a loss of {absorbed:.3g} (median) in {share(instances - wrong, instances)}. One latent for all four "
        f"breeds, which the paper calls ideal, loses {whole_loss:.3g}: more in {share(less, instances)}. Absorption is "
        "a step from there towards one latent for each breed, whose loss is zero.",
    )
