"""The benchmark of dead latents by the mean of samples."""

import numpy as np
import pytest

from benchmarks.dead_by_mean import moved


@pytest.mark.parametrize("ratio", [0.0, 2.0])
def test_samples_get_a_mean_of_so_many_times_their_spread(ratio):
    x = np.random.default_rng(0).exponential(size=(3000, 5)).astype(np.float32)
    samples = moved(x, ratio, 0).astype(np.float64)
    spread = np.sqrt(samples.var(axis=0).sum())
    # float32 keeps seven digits of numbers below 10
    assert np.linalg.norm(samples.mean(axis=0)) / spread == pytest.approx(ratio, abs=1e-4)
    np.testing.assert_allclose(samples - samples.mean(axis=0), x - x.mean(axis=0), atol=1e-4)
