"""Orthogonal matching pursuit, beside a plain reference."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.config import ModelConfig
from sdlcore.model.activation import Weights
from sdlcore.model.activations import omp
from sdlcore.model.coder import SparseCoder
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels

N_Q, N_R, K = 60, 24, 5


@pytest.fixture(scope="module")
def planted():
    """Noisy samples of a few latents, and their rows, of norm 1."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(N_Q, N_R, generator=generator))
    active = torch.rand(100, N_Q, generator=generator) < 0.06
    sizes = 0.5 + torch.rand(100, N_Q, generator=generator)
    return (active * sizes) @ rows + 0.05 * torch.randn(100, N_R, generator=generator), rows


def model(rows, k=K):
    n_q, n_r = rows.shape
    coder = SparseCoder.from_config(ModelConfig(activation="omp", n_q=n_q, k=k), (n_r,), (n_r,)).eval()
    coder.load_state_dict(coder.state_dict() | {"W_enc": rows, "W_dec": rows})
    return coder


def codes(x, rows, k=K):
    with torch.no_grad():
        return model(rows, k).encode(x).numpy()


def plain_omp(x, rows, k, threshold=0.0):
    chosen, coefficients, residual = [], np.zeros(len(rows)), x
    for _ in range(k):
        products = rows @ residual
        products[chosen] = 0
        if products.max() <= max(threshold, omp.LEAST * np.linalg.norm(x)):
            break
        chosen.append(int(products.argmax()))
        while (solved := np.linalg.lstsq(rows[chosen].T, x, rcond=None)[0]).min() < 0:
            chosen = [latent for latent, code in zip(chosen, solved, strict=True) if code >= 0]
        coefficients = np.zeros(len(rows))
        coefficients[chosen] = solved
        residual = x - coefficients @ rows
    return coefficients


@pytest.mark.parametrize("threshold", [0.0, 0.6])
@pytest.mark.parametrize("most", [omp.MOST, 0])
def test_codes_are_those_of_a_plain_loop(most, threshold, planted, monkeypatch):
    monkeypatch.setattr(omp, "MOST", most)  # with and without the inner products of all latents
    x, rows = planted
    expected = [plain_omp(one, rows.double().numpy(), K, threshold) for one in x.double().numpy()]
    coder = model(rows)
    coder.sigma.threshold.fill_(threshold)
    with torch.no_grad():
        actual = coder.encode(x).numpy()
    assert (len(np.unique((actual > 0).sum(1))) > 3) == (threshold > 0)
    # squared condition numbers of five rows of cosines below .7 are below 100, times float32's 6e-8 and codes of 1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


def test_compiled_steps_are_those_of_torch():
    """Rows have a common direction, so many codes become negative, and few latents are left in many samples."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.nn.functional.normalize(torch.randn(203, 12, generator=generator) + 1.0)
    x = torch.randn(300, 12, generator=generator)
    x[3], x[5, 0], x[6, 1] = 0.0, torch.nan, torch.inf
    weights, k = Weights(rows, torch.zeros(203), rows, torch.zeros(12)), 9
    compiled, expected = (
        torch.zeros(300, 203).scatter_add(1, *omp.OMP(k).greedy(x, weights, kernels))
        for kernels in (NumbaKernels(), Kernels())
    )
    assert ((expected > 0).sum(1) < k).sum() > 200
    assert not compiled[[3, 5, 6]].any()
    torch.testing.assert_close(compiled, expected.nan_to_num(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("most", [omp.MOST, 0])
def test_codes_of_many_latents_are_those_of_a_plain_loop(most, monkeypatch):
    """With more latents than a block of a kernel has, and enough steps for its sums by block."""
    monkeypatch.setattr(omp, "MOST", most)
    generator = torch.Generator().manual_seed(4)
    rows = torch.nn.functional.normalize(torch.randn(1500, 40, generator=generator))
    x, k = 2 + torch.randn(130, 40, generator=generator), 12
    expected = [plain_omp(one, rows.double().numpy(), k) for one in x[:10].double().numpy()]
    np.testing.assert_allclose(codes(x, rows, k=k)[:10], expected, rtol=0, atol=1e-4)


def test_rows_of_other_norms_have_the_same_reconstructions(planted):
    x, rows = planted
    scales = 2.0 ** torch.arange(N_Q).remainder(7).sub(3)[:, None]
    expected = codes(x, rows)
    np.testing.assert_allclose(codes(x, scales * rows) * scales[:, 0].numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("most", [omp.MOST, 0])
def test_a_copy_of_a_row_never_joins_the_row(most, planted, monkeypatch):
    """The ridge of least squares leaves a millionth of a code in the residual."""
    monkeypatch.setattr(omp, "MOST", most)
    rows = torch.cat([planted[1], planted[1][:1]])
    x = torch.linspace(0.5, 5, 300)[:, None] * rows[0]
    for size in (300, 1):  # products are rounded in another way
        latents = np.concatenate([codes(part, rows) for part in x.split(size)])
        assert ((latents > 0).sum(1) == 1).all()
        np.testing.assert_allclose(latents.max(1), torch.linspace(0.5, 5, 300), rtol=1e-5)


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_latents_are_few_and_the_residual_has_no_product_with_them(k, seed):
    generator = torch.Generator().manual_seed(seed)
    rows, x = torch.randn(16, 8, generator=generator), torch.randn(3, 8, generator=generator)
    rows[3] = 0.0
    rows[5] = rows[4]  # equal rows
    actual = codes(x, rows, k=k)
    assert (actual >= 0).all()
    assert (actual > 0).sum(1).max() <= k
    products = (x.numpy() - actual @ rows.numpy()) @ rows.numpy().T
    # the ridge leaves a millionth of a code, and codes of nearly dependent rows may be large
    assert np.abs(products[actual > 0]).max(initial=0) < 1e-4 * max(1, actual.max())


def test_samples_of_zeros_and_no_samples_have_no_latents(planted):
    _, rows = planted
    assert not codes(torch.zeros(3, N_R), rows).any()
    assert codes(torch.zeros(0, N_R), rows).shape == (0, N_Q)
