import pytest
import torch

from sdlcore.training.variance import total_variance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "mean"), [(64, 0.0), (501, 30.0), (1, 3.0)])
def test_it_is_torchs_sum_of_variances(dtype, rows, mean):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(rows, 33, generator=generator, dtype=dtype) * torch.rand(33, generator=generator) + mean)[:, :32]
    expected = x.var(dim=0, correction=0).sum()
    if dtype == torch.float32:  # both are computed in double precision, and rounded once
        assert torch.equal(total_variance(x), expected)
    assert torch.allclose(total_variance(x), expected, rtol=1e-12 if dtype == torch.float64 else 1e-6)


def test_a_large_mean_does_not_cancel_it():
    x = torch.full((100, 1), 1e6)
    x[::2] += 1
    assert float(total_variance(x)) == 0.25
