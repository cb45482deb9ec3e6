"""Draw the directions of features: random, then pushed apart a little."""

import numpy as np
import torch


def directions(n: int, dimension: int, steps: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Return unit directions that interfere a little less than random ones (dimension x n, float32).

    Adam takes ``steps`` on the sum of squared inner products of different directions, plus n times the squared
    deviations of squared norms from 1, as SynthSAEBench's orthogonalisation does. The first sum is that of all pairs,
    |W^T W|_F^2, less the n of a direction with itself, so that no n x n matrix is needed.

    Parameters
    ----------
    n, dimension
        How many, and in how many dimensions.
    steps, rate
        Of Adam; 0 steps leave random directions.
    rng
        Where the random directions are drawn from.
    """
    start = rng.standard_normal((n, dimension))
    W = torch.from_numpy(start / np.linalg.norm(start, axis=1, keepdims=True)).requires_grad_()
    optimiser = torch.optim.Adam([W], lr=rate)
    for _ in range(steps):
        squares = W.square().sum(1)
        loss = (W.T @ W).square().sum() - squares.square().sum() + n * (squares - 1).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = W.detach().numpy()
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).T.astype(np.float32)
