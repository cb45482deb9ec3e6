"""Certificates of global optimality for small problems, by branch and bound in the spirit of GOP.

GOP (Floudas and Visweswaran 1990) branches on one block of a biconvex problem and bounds by what the other block can
do at best. Here are two such searches for the least of L~ (eq. 11), and a bound without any search. They bound the loss
of every encoder whatsoever, since codes are only asked to be non-negative: of ReLU, JumpReLU and TopK, for n > n_p too,
and of encoders that are not linear. Where the w_p^d are linearly independent, every such code is that of some W_E, so
that the bound is reached. Computed in float64 without control of rounding: good to some 1e-9, no proof in exact
arithmetic.
"""

import heapq
import itertools
from typing import NamedTuple

import numpy as np
import scipy.optimize

from sdlcore.study.theory.landscape import Problem, Weights

ROUNDING = 1e-9


class Certificate(NamedTuple):
    """What a search proved."""

    lower: float
    """No dictionary of so many latents loses less."""
    upper: float
    """What `codes` and `W_dec` lose."""
    codes: np.ndarray
    """n_q x n, non-negative."""
    W_dec: np.ndarray
    """n_q x n_r."""
    nodes: int
    """Nodes that were bounded."""

    @property
    def gap(self) -> float:
        return self.upper - self.lower


def rank_bound(problem: Problem, n_q: int) -> float:
    """Return the loss of the best reconstruction of rank n_q, by Eckart and Young: a lower bound for n_q latents."""
    singular = np.linalg.svd(problem.W_r * np.sqrt(problem.M), compute_uv=False)
    return float(np.square(singular[n_q:]).sum())


def realise(certificate: Certificate, problem: Problem) -> Weights:
    """Return weights that have the certificate's codes; features of the input must be linearly independent.

    A code below the threshold cannot be had: codes are scaled up, and decoder columns down, until all are above it.
    """
    z, W_dec = certificate.codes.copy(), certificate.W_dec.copy()
    for i, row in enumerate(z):
        least = row[row > 0].min(initial=np.inf)
        scale = max(1.0, 2 * problem.threshold / least)
        z[i], W_dec[i] = np.where(row > 0, scale * row, -1.0), W_dec[i] / scale
    return Weights(z @ np.linalg.pinv(problem.W_p), W_dec)


def certify_top_1(problem: Problem, n_q: int, most_nodes: int = 100_000) -> Certificate:
    """Find the least L~ where each feature activates one latent at most, and prove it.

    Branching: which latent a feature activates, if any, one feature after the other. Bound of a node: the features
    that were given to a latent lose trace(G) less the largest eigenvalue of G (see `spurious`), whatever else joins
    them, and those that no latent has lose all. A leaf is attained where that eigenvector has positive products with
    all members; where it has not, some member is better left without a latent, which is another leaf. The least bound
    of what is still open is a lower bound at any time: ``most_nodes`` can leave a gap, not a wrong one.
    """
    order = np.argsort(-problem.M * np.square(problem.W_r).sum(axis=0))
    W = (problem.W_r * np.sqrt(problem.M))[:, order]
    total, counter = np.square(W).sum(axis=0), itertools.count()
    losses: dict[tuple[int, ...], tuple[float, bool]] = {(): (0.0, True)}

    def group(members: tuple[int, ...]) -> tuple[float, bool]:
        if members not in losses:
            part = W[:, members]
            values, vectors = np.linalg.eigh(part.T @ part)
            top = vectors[:, -1] * np.sign(vectors[:, -1].sum())
            losses[members] = float(total[list(members)].sum() - values[-1]), bool((top > 1e-12).all())
        return losses[members]

    best, best_labels = float(total.sum()), (-1,) * problem.n
    heap: list[tuple[float, int, tuple[int, ...]]] = [(0.0, next(counter), ())]
    nodes = 0
    while heap and heap[0][0] < best - ROUNDING and nodes < most_nodes:
        _, _, labels = heapq.heappop(heap)
        # latents that have no feature yet are alike
        for label in range(-1, min(max(labels, default=-1) + 2, n_q)):
            nodes += 1
            longer = (*labels, label)
            groups = [tuple(d for d, own in enumerate(longer) if own == i) for i in range(n_q)]
            bound = sum(group(members)[0] for members in groups)
            bound += sum(float(total[d]) for d, own in enumerate(longer) if own == -1)
            if len(longer) < problem.n:
                if bound < best - ROUNDING:
                    heapq.heappush(heap, (bound, next(counter), longer))
            elif bound < best and all(group(members)[1] for members in groups):
                best, best_labels = bound, longer
    codes, columns = np.zeros((n_q, problem.n)), np.zeros((n_q, len(W)))
    for i in range(n_q):
        members = [d for d, own in enumerate(best_labels) if own == i]
        if members:
            columns[i] = np.linalg.svd(W[:, members])[0][:, 0]
            columns[i] *= np.sign((columns[i] @ W[:, members]).sum())
            codes[i, order[members]] = columns[i] @ problem.W_r[:, order[members]]
    return Certificate(min(best, heap[0][0] if heap else best), best, codes, columns, nodes)


def nearly_opposite(slant: float) -> tuple[Problem, Weights]:
    """Return a problem whose loss has no least value, and weights that lose the less the smaller ``slant`` > 0 is.

    Targets (1, 0), (-1, 0) and (0, 1), two latents with columns (1, slant) and (-1, slant), ReLU: the third feature is
    exact, by codes of 1 / (2 slant), the others' errors are below slant. Without any loss, the columns would have to be
    the first two targets themselves, which do not make the third.
    """
    W_r = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    problem = Problem(np.eye(3), W_r, np.ones(3))
    alone, both = 1 / (1 + slant**2), 1 / (2 * slant)
    return problem, Weights(np.array([[alone, -1.0, both], [-1.0, alone, both]]), np.array([[1, slant], [-1, slant]]))


class Box(NamedTuple):
    """A range of decoder columns, each of largest entry 1 in absolute value."""

    low: np.ndarray
    """n_q x n_r."""
    high: np.ndarray


def certify(problem: Problem, n_q: int, gap: float, largest: float = 5.0, most_nodes: int = 4000) -> Certificate:
    """Find L~ to within ``gap`` where any latents may be active together, with a lower bound that proves it.

    Over dictionaries whose codes sum to ``largest`` at most for each feature, decoder columns being scaled to a largest
    entry of 1 in absolute value. Without such a bound two columns that are nearly opposite reconstruct anything on one
    side of them by ever larger codes, and which side it is, no box of columns tells.

    Branching: boxes of decoder columns on the faces of a cube. Bound of a box: each feature's distance from what all
    columns in the box can make, that is from the cone of its corners, by non-negative least squares, with the sum of
    codes bounded by Lagrange multipliers; relaxed is that two features might use different columns of the box. There
    are n_q (n_r - 1) dimensions to divide, so this is for problems of two or three dimensions.
    """
    best, codes, columns = np.inf, np.zeros((n_q, problem.n)), np.zeros((n_q, len(problem.W_r)))
    heap: list[tuple[float, int, Box]] = []
    counter = itertools.count()
    nodes = 0
    boxes = [_product(faces) for faces in itertools.combinations_with_replacement(_faces(len(problem.W_r)), n_q)]
    while True:
        for box in boxes:
            nodes += 1
            middle = (box.low + box.high) / 2
            loss, z = _reconstruction(problem, middle, largest)
            if loss < best:
                best, codes, columns = loss, z, middle
            corners = np.vstack([_corners(*sides) for sides in zip(*box, strict=True)])
            heapq.heappush(heap, (_bound(problem, corners, largest), next(counter), box))
        if heap[0][0] > best - gap or nodes >= most_nodes:
            lower = max(heap[0][0], rank_bound(problem, n_q))
            return Certificate(min(best, lower), best, codes, columns, nodes)
        boxes = _halves(heapq.heappop(heap)[2])


def _faces(dimension: int) -> list[tuple[np.ndarray, np.ndarray]]:
    faces = []
    for axis, sign in itertools.product(range(dimension), (-1.0, 1.0)):
        low, high = -np.ones(dimension), np.ones(dimension)
        low[axis] = high[axis] = sign
        faces.append((low, high))
    return faces


def _product(faces: tuple[tuple[np.ndarray, np.ndarray], ...]) -> Box:
    return Box(np.array([low for low, _ in faces]), np.array([high for _, high in faces]))


def _corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the different corners of one column's range, corners x n_r."""
    sides = [(a,) if a == b else (a, b) for a, b in zip(low, high, strict=True)]
    return np.array(list(itertools.product(*sides)))


def _halves(box: Box) -> list[Box]:
    width = box.high - box.low
    place = np.unravel_index(width.argmax(), width.shape)
    middle = (box.low[place] + box.high[place]) / 2
    low, high = box.low.copy(), box.high.copy()
    low[place] = high[place] = middle
    return [Box(box.low, high), Box(low, box.high)]


def _reconstruction(problem: Problem, rows: np.ndarray, largest: float) -> tuple[float, np.ndarray]:
    """Return what codes that sum to ``largest`` at most lose with given decoder rows, and codes (n_q x n)."""
    loss, codes = 0.0, np.zeros((len(rows), problem.n))
    for d in range(problem.n):
        z = scipy.optimize.nnls(rows.T, problem.W_r[:, d])[0]
        codes[:, d] = z * min(1.0, largest / z.sum()) if z.any() else z
        loss += float(problem.M[d] * np.square(problem.W_r[:, d] - codes[:, d] @ rows).sum())
    return loss, codes


MULTIPLIERS = (0.0, 1e-3, 1e-2, 1e-1)


def _bound(problem: Problem, corners: np.ndarray, largest: float) -> float:
    """Return a lower bound of what codes that sum to ``largest`` at most lose with any columns between the corners.

    For every multiplier m >= 0, min |w - C^T z|^2 + m ((sum z / largest)^2 - 1) is one, and is non-negative least
    squares with a row more.
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
