"""Feature absorption: Example 3.8 and Theorem 3.10, as the proof constructs it and as it has to be constructed."""

from typing import NamedTuple

import numpy as np
import scipy.optimize

from sdlcore.study.theory.landscape import Problem, autoencoder
from sdlcore.study.theory.spurious import Groups

DOG, ABSORBED = (0, 1, 2, 3), 0
"""Example 3.8: the breeds among its features, and the one that is absorbed."""


def dogs(rng: np.random.Generator) -> Problem:
    """Return Example 3.8: four breeds of dog about a common direction, a cat, a horse and an elephant.

    Seven unit features of 16 dimensions. Breeds are the unit direction "dog" plus noise of norm about 1, so that all of
    their inner products are about a half; draws in which one is not positive are drawn again.
    """
    dimension = 16
    dog = rng.standard_normal(dimension)
    dog /= np.linalg.norm(dog)
    while True:
        breeds = dog[:, None] + rng.standard_normal((dimension, len(DOG))) / np.sqrt(dimension)
        breeds /= np.linalg.norm(breeds, axis=0)
        if (breeds.T @ breeds > 0).all():
            break
    others = rng.standard_normal((dimension, 3))
    return autoencoder(np.hstack([breeds, others / np.linalg.norm(others, axis=0)]))


def dog_groups(absorbed: bool) -> Groups:
    """Return the pattern of seven latents with a latent "dog" for all breeds, or for all but the absorbed one."""
    dog = [d for d in DOG if not (absorbed and d == ABSORBED)]
    return [dog, *([[ABSORBED]] if absorbed else []), [4], [5], [6], *([[]] * (2 if absorbed else 3))]


def separating_row(W_p: np.ndarray, members: list[int], threshold: float) -> np.ndarray | None:
    """Return an encoder row (n_p) that exactly the members activate, sigma(z) = z 1(z > c); None if there is none.

    By a linear program, which also proves that there is none: the largest t with <u, w_p^d> >= c + t for members and
    <= c for all others is then zero.
    """
    n_p, n = W_p.shape
    others = [d for d in range(n) if d not in set(members)]
    found = scipy.optimize.linprog(
        np.r_[np.zeros(n_p), -1.0],
        A_ub=np.vstack(
            [
                np.hstack([-W_p[:, members].T, np.ones((len(members), 1))]),
                np.hstack([W_p[:, others].T, np.zeros((len(others), 1))]),
            ]
        ),
        b_ub=np.r_[np.full(len(members), -threshold), np.full(len(others), threshold)],
        bounds=[(-1e4, 1e4)] * n_p + [(None, 1.0)],
    )
    return found.x[:n_p] if found.status == 0 and found.x[-1] > 1e-7 else None


class Absorption(NamedTuple):
    """A dictionary in which one member of a group got a latent of its own."""

    W_enc: np.ndarray
    """(n_q + 1) x n_p, the new latent last."""
    threshold: float
    absorbed: int
    """The feature that was separated."""


def paper_absorption(W_enc: np.ndarray, W_p: np.ndarray, latent: int, threshold: float) -> Absorption:
    """Return what the proof of Theorem 3.10 constructs (eq. 93 to 107): one row shrunk, the threshold raised for all.

    ``threshold`` c may be zero. The infinitesimal of eq. (100) is a thousandth, half of what
    there is to the next member where that is less, and a billionth where the two tie.
    """
    activations = W_enc[latent] @ W_p
    members = np.flatnonzero(activations > threshold)
    order = members[np.argsort(activations[members], kind="stable")]
    least, following = activations[order[0]], activations[order[1]]
    raised = (threshold + least) / 2
    shrink = raised / least
    gap = shrink * following - raised
    raised += min(gap / 2, 1e-3 * raised) if gap > 1e-9 * raised else 1e-9 * raised
    gram = W_p.T @ W_p
    interference = gram[~np.eye(len(gram), dtype=bool)].max()
    rows = W_enc.copy()
    rows[latent] *= shrink
    new = 2 * raised / (1 + interference) * W_p[:, order[0]]
    return Absorption(np.vstack([rows, new]), float(raised), int(order[0]))


def repaired_absorption(
    W_enc: np.ndarray, W_p: np.ndarray, latent: int, threshold: float, rng: np.random.Generator
) -> Absorption:
    """Return Theorem 3.10's pattern with the threshold left where it is, and so all other latents.

    The row is shrunk a little, which lets no feature through that did not pass; where two members tie for the weakest,
    it is turned a little, which different features tell apart; then it is shrunk until the weakest no longer passes.

    Raises
    ------
    ValueError
        If the threshold is not positive: what a row scales does not change which features have a positive product.
    """
    if threshold <= 0:
        raise ValueError(f"Theorem 3.10 needs a threshold above zero, found {threshold}: ReLU knows no scale")
    gram = W_p.T @ W_p
    interference = gram[~np.eye(len(gram), dtype=bool)].max()
    row = W_enc[latent].copy()
    members = np.flatnonzero(row @ W_p > threshold)
    least = (row @ W_p)[members].min()
    row *= (1 + threshold / least) / 2
    if _gap(row @ W_p[:, members]) < 1e-6 * least:
        room = np.abs(row @ W_p - threshold).min()
        turn = rng.standard_normal(len(row))
        row += 0.5 * room / np.linalg.norm(turn) * turn
    activations = row @ W_p
    order = members[np.argsort(activations[members])]
    # between what silences the weakest and what silences the next
    row *= threshold * 2 / (activations[order[0]] + activations[order[1]])
    rows = W_enc.copy()
    rows[latent] = row
    new = 2 * threshold / (1 + interference) * W_p[:, order[0]]
    return Absorption(np.vstack([rows, new]), threshold, int(order[0]))


def _gap(values: np.ndarray) -> float:
    return float(np.diff(np.sort(values)[:2])[0])


def absorbed_pattern(active: np.ndarray, latent: int, feature: int) -> np.ndarray:
    """Return P' of eq. (20), (n_q + 1) x n booleans: the feature taken from one latent and given to a new one."""
    rows = np.vstack([active, np.zeros(active.shape[1], bool)])
    rows[latent, feature] = False
    rows[-1, feature] = True
    return rows


def without_threshold() -> tuple[np.ndarray, list[int]]:
    """Return features (2 x 4) and a group of two that ReLU can activate together but neither of them alone.

    Directions at 10, -10, -100 and 100 degrees: each of the first two is a non-negative combination of the other one
    and of a feature outside of the group, so that what only it activates would have to be activated by those too.
    """
    angles = np.radians([10, -10, -100, 100])
    return np.array([np.cos(angles), np.sin(angles)]), [0, 1]


def two_parents() -> tuple[np.ndarray, list[list[int]], np.ndarray]:
    """Return children of two parents in the plane (2 x 6), the two groups, and rows (2 x 2) that realise them by ReLU.

    The first parent's children are at 0, 40 and -40 degrees, the other's opposite to them. No row activates one child
    alone: that at 0 is a non-negative combination of its siblings; a row for that at 40 must be silent for both 0 and
    180 degrees, so upright, and then activates 140.
    """
    angles = np.radians([0, 40, -40, 180, 140, 220])
    W = np.array([np.cos(angles), np.sin(angles)])
    return W, [[0, 1, 2], [3, 4, 5]], np.array([[1.0, 0.0], [-1.0, 0.0]])
