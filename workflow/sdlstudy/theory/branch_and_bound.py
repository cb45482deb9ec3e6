"""Certificates of global optimality for small problems, by branch and bound in the spirit of GOP.

GOP (Floudas and Visweswaran 1990) branches on one block of variables of a biconvex problem, and bounds the loss by
optimising the other block. This module has such a search for the least L~ (eq. 11) if any latents may be active
together, and a bound without any search. `sdlstudy.theory.approximate_loss.certify_top_1` is the search for Top-1.
The bounds only assume nonnegative codes, so they bound the loss of every encoder: ReLU, JumpReLU, TopK, and encoders
that are not linear. If the w_p^d are linearly independent, some W_E has the codes of the optimum, so the bound is
reached. Computations are in float64 without control of rounding: accurate to about 1e-9, but no proof in exact
arithmetic.
"""

import heapq
import itertools

import numpy as np
import scipy.optimize

from sdlstudy.theory.approximate_loss import Certificate, Problem, Weights

MULTIPLIERS = (0.0, 1e-3, 1e-2, 1e-1)
"""Lagrange multipliers of the bound on the sum of codes."""


def rank_bound(problem: Problem, n_q: int) -> float:
    """Return the loss of the best reconstruction of rank n_q, by Eckart and Young: a lower bound for n_q latents."""
    singular = np.linalg.svd(problem.W_r * np.sqrt(problem.M), compute_uv=False)
    return float(np.square(singular[n_q:]).sum())


def realise(certificate: Certificate, problem: Problem) -> Weights:
    """Return weights that have the certificate's codes under ReLU or TopK, for linearly independent input features."""
    z = np.where(certificate.codes > 0, certificate.codes, -1.0)
    return Weights(z @ np.linalg.pinv(problem.W_p), certificate.W_dec)


Column = tuple[np.ndarray, np.ndarray]
"""A range of decoder columns: the least and the greatest value of each entry, n_r each."""


def certify(problem: Problem, n_q: int, gap: float, largest: float = 5.0, most_nodes: int = 4000) -> Certificate:
    """Find the least L~ to within ``gap`` if any latents may be active together, with a lower bound that proves it.

    Decoder columns are scaled to a largest entry of 1 in absolute value, and the codes of each feature sum to at most
    ``largest``. Without this bound, two nearly opposite columns reconstruct everything on one side of them with ever
    larger codes, and a range of columns does not determine the side.

    Branching: ranges of decoder columns on the faces of a cube. Bound of a node: each feature's distance from the cone
    of all corners of the ranges (`cone_bound`), as if each feature had columns of its own. The search divides
    n_q (n_r - 1) dimensions, so it is practical only for n_r of two or three.
    """
    best, codes, columns = np.inf, np.zeros((n_q, problem.n)), np.zeros((n_q, len(problem.W_r)))
    heap: list[tuple[float, int, tuple[Column, ...]]] = []
    counter = itertools.count()
    boxes = list(itertools.combinations_with_replacement(_faces(len(problem.W_r)), n_q))
    nodes = 0
    while True:
        for box in boxes:
            nodes += 1
            middle = np.array([(low + high) / 2 for low, high in box])
            loss, z = _reconstruction(problem, middle, largest)
            if loss < best:
                best, codes, columns = loss, z, middle
            corners = np.vstack([_corners(*column) for column in box])
            heapq.heappush(heap, (cone_bound(problem, corners, largest), next(counter), box))
        if heap[0][0] > best - gap or nodes >= most_nodes:
            lower = max(heap[0][0], rank_bound(problem, n_q))
            return Certificate(min(best, lower), best, codes, columns, nodes)
        boxes = _halves(heapq.heappop(heap)[2])


def _faces(dimension: int) -> list[Column]:
    faces = []
    for axis, sign in itertools.product(range(dimension), (-1.0, 1.0)):
        low, high = -np.ones(dimension), np.ones(dimension)
        low[axis] = high[axis] = sign
        faces.append((low, high))
    return faces


def _corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the distinct corners of a range of columns, corners x n_r."""
    sides = [(a,) if a == b else (a, b) for a, b in zip(low, high, strict=True)]
    return np.array(list(itertools.product(*sides)))


def _halves(box: tuple[Column, ...]) -> list[tuple[Column, ...]]:
    """Split a box into two at the middle of its widest side."""
    low, high = np.array(box).transpose(1, 0, 2)
    place = np.unravel_index((high - low).argmax(), low.shape)
    upper, lower = low.copy(), high.copy()
    upper[place] = lower[place] = (low[place] + high[place]) / 2
    return [tuple(zip(low, lower, strict=True)), tuple(zip(upper, high, strict=True))]


def _reconstruction(problem: Problem, rows: np.ndarray, largest: float) -> tuple[float, np.ndarray]:
    """Return the loss of a decoder (``rows``, n_q x n_r) with codes that sum to at most ``largest``, and the codes."""
    codes = np.zeros((len(rows), problem.n))
    for d in range(problem.n):
        z = scipy.optimize.nnls(rows.T, problem.W_r[:, d])[0]
        codes[:, d] = z * min(1.0, largest / z.sum()) if z.any() else z
    return float(problem.M @ np.square(problem.W_r - rows.T @ codes).sum(axis=0)), codes


def cone_bound(problem: Problem, corners: np.ndarray, largest: float) -> float:
    """Return a lower bound of the loss for any columns between the corners and codes that sum to at most ``largest``.

    For every multiplier m >= 0, min |w - C^T z|^2 + m ((sum z / largest)^2 - 1) bounds a feature's error from below.
    This minimum solves a nonnegative least-squares problem with one more row.
    """
    bound = 0.0
    for d in range(problem.n):
        best = 0.0
        for multiplier in MULTIPLIERS:
            row = np.full((1, len(corners)), np.sqrt(multiplier) / largest)
            _, distance = scipy.optimize.nnls(np.vstack([corners.T, row]), np.r_[problem.W_r[:, d], 0.0])
            best = max(best, float(distance) ** 2 - multiplier)
        bound += float(problem.M[d]) * best
    return bound
