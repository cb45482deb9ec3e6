"""Find directions of features in residuals by mean shift (Fukunaga and Hostetler 1975).

A feature without a latent leaves its code in the residual, in every sample that contains it. The projections of
residuals on its direction are then noise in most samples, and far above the noise in some. Mean shift climbs to such
directions: it starts from single residuals, and moves each direction to the weighted mean of the residuals that project
far above the noise.
"""

import numpy as np
import torch
from torch import Tensor

from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.preactivations import Entries, Preactivations

NEIGHBOURS = 40
"""Number of residuals whose mean is a start. They have the largest inner products with one residual."""
STEPS = 4
"""Steps of mean shift."""
LEVEL, CLEAR = 4.5, 5.0
"""Projections count as signal above `LEVEL` deviations of the noise, and support a direction above `CLEAR`."""
LEAST = 20
"""Smallest number of residuals that support a direction."""
APART = 0.5
"""Largest cosine of two directions."""
AT_ONCE = 512
"""Directions that move at once."""


def mean_shift(residuals_BR: Tensor, n: int, noise: float, generator: torch.Generator) -> Tensor:
    """Return distinct unit directions of features, sorted by the number of supporting residuals (K x R, K <= n).

    Mean shift starts from n of B residuals, which have mean zero (float32), and the variance ``noise`` in a dimension.
    Projections are searched in tiles (`Preactivations`), and only signal is summed. So memory is bounded: a tile has
    `AT_ONCE` x 2,000 projections, and residuals are not copied, except in int8 for the search.
    """
    kernels, bias = kernels_for(residuals_BR.device), residuals_BR.new_zeros(len(residuals_BR))
    level, clear = (number * noise**0.5 for number in (LEVEL, CLEAR))

    def projections(directions: Tensor) -> Preactivations:
        return Preactivations(directions, residuals_BR, bias, kernels=kernels)

    def sums(entries: Entries, weights: Tensor) -> Tensor:
        return kernels.gather_sum(entries.support.offsets, entries.support.columns, weights, residuals_BR)

    starts = torch.randperm(len(residuals_BR), generator=generator)[:n]
    direction_parts, support = [], []
    for part in starts.split(AT_ONCE):
        nearest = projections(residuals_BR[part]).largest(min(NEIGHBOURS, len(residuals_BR)))
        directions = sums(nearest, torch.ones_like(nearest.pre))
        for _ in range(STEPS):
            directions = torch.nn.functional.normalize(directions)
            signal = projections(directions).above(bias + level)
            moved = sums(signal, signal.pre - level)
            directions = torch.where(moved.norm(dim=1, keepdim=True) > 0, moved, directions)
        directions = torch.nn.functional.normalize(directions)
        direction_parts.append(directions)
        support.append(torch.diff(projections(directions).above(bias + clear).support.offsets))
    directions, counts = torch.cat(direction_parts), torch.cat(support)
    order = counts.argsort(descending=True, stable=True)
    order = order[counts[order] >= LEAST]
    return directions[order][_distinct(directions[order])]


def _distinct(directions: Tensor) -> Tensor:
    """Return the rows to keep, so that each is at most `APART` from earlier kept ones."""
    close = (directions @ directions.T > APART).cpu().numpy()
    is_distinct = np.zeros(len(close), dtype=bool)
    for i, near in enumerate(close):
        is_distinct[i] = not (near[:i] & is_distinct[:i]).any()
    return torch.from_numpy(is_distinct.nonzero()[0])
