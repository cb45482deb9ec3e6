"""Draw feature directions: random unit vectors, then made slightly more orthogonal."""

import numpy as np
import torch


def directions(n: int, dimension: int, steps: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Draw unit directions with slightly less interference than random ones (dimension x n, float32).

    Parameters
    ----------
    n, dimension
        Number of directions and their dimension.
    steps, rate
        Number of Adam steps and their learning rate; with 0 steps the directions stay random.
    rng
        Generator of the random directions.
    """
    start = rng.standard_normal((n, dimension))
    return orthogonalise(start / np.linalg.norm(start, axis=1, keepdims=True), steps, rate)


def orthogonalise(start: np.ndarray, steps: int, rate: float) -> np.ndarray:
    """Return unit directions with less interference (dimension x n, float32).

    Adam minimises the sum of squared inner products of different directions, plus n times the squared deviations of
    squared norms from 1, as in SynthSAEBench's orthogonalisation. With directions as rows of W, the first sum is
    |W W^T|_F^2 without its diagonal. The first sum is computed from |W^T W|_F^2, which is equal, so no n x n matrix is
    needed.

    Parameters
    ----------
    start
        Unit directions in rows (n x dimension, float64).
    steps, rate
        Number of Adam steps and their learning rate.
    """
    W = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.Adam([W], lr=rate)
    for _ in range(steps):
        squares = W.square().sum(1)
        loss = (W.T @ W).square().sum() - squares.square().sum() + len(start) * (squares - 1).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    directions = W.detach().numpy()
    return (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T.astype(np.float32)
