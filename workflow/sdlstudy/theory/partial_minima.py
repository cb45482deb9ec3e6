"""Stationary points of the approximate loss with a given pattern, as the repaired Theorem 3.7 constructs them.

A pattern gives each latent a group F of features. If groups are disjoint, L~ is a sum over latents. A latent with
decoder column v and encoder row u contributes sum_{d in F} M_d || w_r^d - a_d v ||^2, where a_d = <u, w_p^d>.

If the w_p^d are linearly independent, the gradient in u vanishes if and only if v.w_r^d = |v|^2 a_d for every member;
equations (86) and (87) of the paper state only the sum of these, weighted by a_d. Together with eq. (76) for v, this
makes v an eigenvector of G = sum_{d in F} M_d w_r^d w_r^d^T; and a_d > 0 means that v has a positive inner product with
every member. The loss of the group is trace(G) minus the eigenvalue. Within its region, such a point is a local minimum
if the eigenvalue is the largest of G, and a saddle otherwise.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize

from sdlstudy.theory.approximate_loss import Problem, Weights
from sdlstudy.theory.landscape import unit_columns

TOLERANCE = 1e-9
Groups = Sequence[Sequence[int]]
"""For each latent, the features that activate it."""


def groups_to_pattern(groups: Groups, n: int) -> np.ndarray:
    """Return the pattern of groups, n_q x n booleans."""
    return np.array([np.isin(np.arange(n), members) for members in groups])


def random_groups(features: int, latents: int, rng: np.random.Generator) -> list[list[int]]:
    """Return a random partition of features over latents. At least one group has two or more features; some groups may
    be empty."""
    while True:
        latent = rng.integers(0, latents, features)
        groups = [np.flatnonzero(latent == i).tolist() for i in range(latents)]
        if max(map(len, groups)) > 1:
            return groups


class GroupPoint(NamedTuple):
    """A stationary point of one latent and its group."""

    eigenvalue: float
    column: np.ndarray
    """n_r: v, of norm 1."""
    activations: np.ndarray
    """m: the activations a_d > 0 of the members."""
    largest: bool
    """Whether the eigenvalue is the largest of G: a local minimum, not a saddle."""


def group_points(W_r: np.ndarray, M: np.ndarray) -> list[GroupPoint]:
    """Return the stationary points of a latent that its whole group activates, largest eigenvalue first.

    Parameters
    ----------
    W_r
        n_r x m: the members' target features, linearly independent as their input features are.
    M
        m weights.

    Returns
    -------
    At most m points; none if no eigenvector has a positive inner product with every member. Eigenvectors of equal
    eigenvalues are not unique: for m orthonormal members with equal M it is their sum, otherwise the choice of LAPACK.
    """
    gram = np.sqrt(M)[:, None] * (W_r.T @ W_r) * np.sqrt(M)
    values, vectors = np.linalg.eigh(gram)
    if values[-1] - values[0] < TOLERANCE * values[-1]:
        vectors, values = np.ones((len(M), 1)) / np.sqrt(len(M)), values[-1:]
    points = []
    for value, y in zip(values[::-1], vectors.T[::-1], strict=True):
        y = y * np.sign(y[np.abs(y).argmax()])
        # v.w_r^d = sqrt(value / M_d) y_d
        if value > TOLERANCE and (y > TOLERANCE).all():
            column = W_r @ (np.sqrt(M) * y) / np.sqrt(value)
            points.append(GroupPoint(float(value), column, np.sqrt(value / M) * y, bool(value == values[-1])))
    return points


def encoder_row(
    W_p: np.ndarray, members: Sequence[int], activations: np.ndarray, threshold: float
) -> np.ndarray | None:
    """Return an encoder row u (n_p) that exactly the members activate; None if there is none.

    <u, w_p^d> is above the threshold and proportional to ``activations`` (m) for members, and not above the threshold
    for other features. A linear program finds the row with the largest distance from the threshold.
    """
    n_p, n = W_p.shape
    others = [d for d in range(n) if d not in set(members)]
    least, most = min(activations, default=1.0), max(activations, default=1.0)
    low = 2 * threshold / least if threshold else 1 / most
    reach = 1e3 * max(1.0, low * most)
    # unknown: u, scale of the activations, distance of the others from the threshold
    equal = np.hstack([W_p[:, members].T, -np.asarray(activations)[:, None], np.zeros((len(members), 1))])
    below = np.hstack([W_p[:, others].T, np.zeros((len(others), 1)), np.ones((len(others), 1))])
    solution = scipy.optimize.linprog(
        np.r_[np.zeros(n_p + 1), -1.0],
        A_ub=below if others else None,
        b_ub=np.full(len(others), threshold) if others else None,
        A_eq=equal if len(members) else None,
        b_eq=np.zeros(len(members)) if len(members) else None,
        bounds=[(-reach, reach)] * n_p + [(low, 10 * low), (0.0, 0.5 * low)],
    )
    return solution.x[:n_p] if solution.status == 0 else None


def partial_minimum(groups: Groups, problem: Problem) -> tuple[Weights, bool] | None:
    """Return weights with a given pattern at which both gradients vanish, and whether they are a local minimum.

    Parameters
    ----------
    groups
        Disjoint groups; a latent without features is dead. Each latent gets the first of its `group_points`.
    problem
        The problem; features of each group must be linearly independent.

    Returns
    -------
    None if there is no such point for a group, or no encoder row with its activations.
    """
    rows, columns, local = [], [], True
    for members in groups:
        activations, column = np.zeros(0), np.zeros(len(problem.W_r))
        if members:
            points = group_points(problem.W_r[:, members], problem.M[list(members)])
            if not points:
                return None
            activations, column, local = points[0].activations, points[0].column, local and points[0].largest
        row = encoder_row(problem.W_p, members, activations, problem.threshold)
        if row is None:
            return None
        scale = 1.0
        if members:
            scale = row @ problem.W_p[:, members[0]] / activations[0]
            if not problem.threshold:
                # the decoder column keeps norm 1, so that gradient descent is well conditioned
                row, scale = row / scale, 1.0
        rows.append(row)
        columns.append(column / scale)
    return Weights(np.array(rows), np.array(columns)), local


def expected_share(members: int, largest: bool = False) -> float:
    """Return the chance that some eigenvector for random members has equal signs on all of them.

    With ``largest``, only the eigenvector of the largest eigenvalue counts. An eigenvector has m equal signs with
    chance 2^(1-m); two cannot, since they are orthogonal. The chance is exact if all signs are equally likely, which
    nearly holds for random members with equal M.
    """
    return (1 if largest else members) * 2.0 ** (1 - members)


def share_with_point(members: int, dimension: int, trials: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the shares of random groups (unit vectors, M = 1) with a stationary point, and with a local minimum."""
    points_of_groups = [group_points(unit_columns(dimension, members, rng), np.ones(members)) for _ in range(trials)]
    local = [any(point.largest for point in points) for points in points_of_groups]
    return sum(map(bool, points_of_groups)) / trials, sum(local) / trials


def search_points(W_r: np.ndarray, M: np.ndarray, rng: np.random.Generator, starts: int) -> float:
    """Search for a stationary point of a latent that its whole group activates; return the smallest gradient found.

    The search uses nonlinear least squares and no eigenvectors. The encoder's gradient is proportional to the numbers
    M_d (v.w_r^d - |v|^2 a_d), with v from eq. (76). The search minimises their norm, relative to M, over activations
    a_d > 0 that differ by a factor of at most e^6.
    """

    def slope(logarithms: np.ndarray) -> np.ndarray:
        a = np.exp(np.r_[0.0, logarithms])
        a /= np.linalg.norm(a)
        v = W_r @ (M * a) / (M @ a**2)
        return M * (v @ W_r - v @ v * a) / M.mean()

    best = np.inf
    for _ in range(starts):
        start = rng.uniform(-3, 3, len(M) - 1)
        fit = scipy.optimize.least_squares(slope, start, bounds=(-6, 6), xtol=1e-15, ftol=1e-15, gtol=1e-15)
        best = min(best, float(np.linalg.norm(fit.fun)))
    return best
