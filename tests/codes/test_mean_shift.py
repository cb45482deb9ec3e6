"""Mean shift finds the directions of features in residuals, and none in noise."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.codes.mean_shift import APART, LEVEL, NEIGHBOURS, STEPS, mean_shift

DIMENSIONS, SAMPLES = 32, 4000


def noise_of(seed: int, deviation: float = 0.3) -> torch.Tensor:
    return deviation * torch.randn(SAMPLES, DIMENSIONS, generator=torch.Generator().manual_seed(seed))


def plain_directions(residuals, n, noise, generator):
    """Return the directions of all starts, with dense products."""
    starts = residuals[torch.randperm(len(residuals), generator=generator)[:n]]
    nearest = (starts @ residuals.T).topk(NEIGHBOURS, dim=1).indices
    directions = residuals[nearest].mean(1)
    for _ in range(STEPS):
        directions = torch.nn.functional.normalize(directions)
        moved = (directions @ residuals.T - LEVEL * noise**0.5).clamp(min=0) @ residuals
        directions = torch.where(moved.norm(dim=1, keepdim=True) > 0, moved, directions)
    return torch.nn.functional.normalize(directions)


def test_directions_are_those_of_dense_products():
    generator = torch.Generator().manual_seed(6)
    features = torch.nn.functional.normalize(torch.randn(20, DIMENSIONS, generator=generator))
    residuals = noise_of(7) + (torch.rand(SAMPLES, 20, generator=generator) < 0.03).float() @ (4 * features)
    residuals -= residuals.mean(0)
    noise = 0.3**2
    directions = mean_shift(residuals, 200, noise, torch.Generator().manual_seed(8))
    every = plain_directions(residuals, 200, noise, torch.Generator().manual_seed(8))
    assert len(directions) >= 10
    # sums of at most 4,000 terms in another order, which four steps toward a mode shrink again
    assert (1 - (directions @ every.T).amax(1)).max() < 1e-5


def test_noise_has_no_direction():
    """Five deviations of Gaussian noise: 4,000 samples exceed them .001 times, and a direction needs 20 samples."""
    residuals = noise_of(4)
    assert len(mean_shift(residuals, 400, float(residuals.var()), torch.Generator().manual_seed(5))) == 0


@given(st.integers(0, 2**31), st.integers(1, 300))
def test_directions_are_distinct_unit_vectors(seed, n):
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(50, DIMENSIONS, generator=generator))
    residuals = noise_of(seed, 0.1) + ((torch.rand(SAMPLES, 50, generator=generator) < 0.02) * 3.0) @ features
    residuals -= residuals.mean(0)
    directions = mean_shift(residuals, n, float(residuals.var()), generator)
    assert directions.shape[1] == DIMENSIONS
    assert len(directions) <= n
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(len(directions)))
    assert ((directions @ directions.T).fill_diagonal_(0) <= APART + 1e-5).all()
