"""The geometric median: a centre of activations that a few huge ones do not move."""

from typing import NamedTuple

import torch
from torch import Tensor


class _Pull(NamedTuple):
    """What N points do to a place y."""

    force: Tensor
    """Sum of unit vectors (D) from y to the points elsewhere: minus the gradient of the sum of distances to them."""
    weight: Tensor
    """Sum of their inverse distances."""
    here: int
    """Number of points at y. They hold it against any force up to this number."""
    nearest: int
    """Index of the point nearest to y."""


@torch.no_grad()
def geometric_median(x: Tensor, tolerance: float = 1e-6, max_iterations: int = 100) -> Tensor:
    """Return the point with the smallest sum of distances to the rows of ``x``.

    Weiszfeld's iteration from the mean, with the step of Vardi & Zhang (2000, "The multivariate L1-median and
    associated data depth", PNAS 97:1423) where it meets a row. Close to a row that is the median it would slow down; so
    their condition for that is tried each time on the row nearest to it, and where it holds that row is returned.

    Parameters
    ----------
    x
        N x D, finite numbers. It is computed with in float64, on its device.
    tolerance
        The iteration ends where the mean of the unit vectors to the rows is no longer than this, but for the share of
        rows that lie there.
    max_iterations
        It ends after so many in any case, with what it has, or with the nearest row where that is better.

    Returns
    -------
    D numbers in the precision of ``x``. Where rows lie on one line and are even in number, one of many medians.

    Raises
    ------
    ValueError
        If ``x`` is no matrix, has no rows or columns, or holds numbers that are not finite.
    """
    if x.ndim != 2 or not x.numel():
        raise ValueError(f"expected a matrix of one row or more of one number or more, found shape {tuple(x.shape)}")
    if not x.isfinite().all():
        raise ValueError("cannot take the median of rows that are not finite")
    # about 1 at most, so that no square overflows; a power of two rounds nothing
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
        # it nears a median close to a row slowly; the row may still be the better of the two
        row = points[int((points - y).norm(dim=1).argmin())]
        y = min(y, row, key=lambda place: float((points - place).norm(dim=1).sum()))
    return (y * scale).to(x.dtype)


def _pull(points: Tensor, y: Tensor) -> _Pull:
    offsets = points - y
    distances = offsets.norm(dim=1)
    # points are about 1 at most, so that what is closer than this lies within their rounding errors
    inverse = torch.where(distances > torch.finfo(torch.float64).eps, 1 / distances, 0.0)
    return _Pull(inverse @ offsets, inverse.sum(), int((inverse == 0).sum()), int(distances.argmin()))
