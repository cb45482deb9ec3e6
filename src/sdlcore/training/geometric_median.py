"""The geometric median: a centre of activations that a few huge samples do not move."""

from typing import NamedTuple

import torch
from torch import Tensor


class _Pull(NamedTuple):
    """The force of N points on a position y."""

    force: Tensor
    """Sum of unit vectors (D) from y to the points away from y: minus the gradient of the sum of distances."""
    weight: Tensor
    """Sum of the inverse distances of these points."""
    here: int
    """Number of points at y. Together they withstand a force up to this number."""
    nearest: int
    """Index of the point nearest to y."""


@torch.no_grad()
def geometric_median(x: Tensor, tolerance: float = 1e-6, max_iterations: int = 100) -> Tensor:
    """Return the point with the smallest sum of distances to the rows of ``x``.

    The method is Weiszfeld's iteration from the mean, with the step of Vardi & Zhang (2000, "The multivariate L1-median
    and associated data depth", PNAS 97:1423) at positions that coincide with a row. Near a row that is the median, the
    iteration would slow down. So each iteration tests their optimality condition at the nearest row, and returns that
    row if it holds.

    Parameters
    ----------
    x
        N x D, finite. Computed in float64, on the device of ``x``.
    tolerance
        The iteration stops if the mean unit vector to the rows is no longer than this, plus the share of rows that
        coincide with the position.
    max_iterations
        Largest number of iterations. Then the current position is returned, or the nearest row if that is better.

    Returns
    -------
    D numbers in the precision of ``x``. If an even number of rows lies on one line, one of many medians.

    Raises
    ------
    ValueError
        If ``x`` is not a matrix, is empty, or contains numbers that are not finite.
    """
    if x.ndim != 2 or not x.numel():
        raise ValueError(f"x: expected a matrix with at least one row and one column, found shape {tuple(x.shape)}")
    if not x.isfinite().all():
        raise ValueError("x has rows that are not finite, so it has no geometric median; remove these rows")
    # scale to at most about 1, so that no square overflows; a power of two is exact
    scale = 2.0 ** float(x.abs().max().double().log2().ceil().clamp(-1000, 1000))
    points = x.double() / scale
    y = points.mean(0)
    for _ in range(max_iterations):
        pull = _pull(points, y)
        at_row = _pull(points, points[pull.nearest])
        if at_row.force.norm() <= at_row.here + tolerance * len(x):
            return x[pull.nearest].clone()
        force = float(pull.force.norm())
        if force <= pull.here + tolerance * len(x):
            break
        y = y + (1 - pull.here / force) * pull.force / pull.weight
    else:
        # the iteration converges slowly to a median close to a row; the row itself may still be better
        row = points[int((points - y).norm(dim=1).argmin())]
        y = min(y, row, key=lambda place: float((points - place).norm(dim=1).sum()))
    return (y * scale).to(x.dtype)


def _pull(points: Tensor, y: Tensor) -> _Pull:
    offsets = points - y
    distances = offsets.norm(dim=1)
    # points are at most about 1, so smaller distances are within their rounding errors
    inverse = torch.where(distances > torch.finfo(torch.float64).eps, 1 / distances, 0.0)
    return _Pull(inverse @ offsets, inverse.sum(), int((inverse == 0).sum()), int(distances.argmin()))
