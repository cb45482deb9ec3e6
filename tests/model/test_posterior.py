"""Posterior codes are the most probable codes of samples that follow their model."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.config import ModelConfig
from sdlcore.model.activation import Weights
from sdlcore.model.activations.posterior import QUIET, Statistics, codes
from sdlcore.model.coder import SparseCoder

N_Q, N_R, NOISE = 12, 40, 0.05


def statistics(p=0.1, mean=4.0, variance=0.25, noise=NOISE, n_q=N_Q):
    odds = torch.full((n_q,), p / (1 - p)).log()
    return Statistics(odds, torch.full((n_q,), mean), torch.full((n_q,), variance), torch.tensor(noise))


def weights(rows, b_dec=None):
    return Weights(rows, torch.zeros(len(rows)), rows, torch.zeros(rows.shape[1]) if b_dec is None else b_dec)


def dense(x, dictionary, prior):
    sample, latent, values = codes(x, dictionary, prior)
    z = torch.zeros(len(x), len(dictionary.W_dec))
    z[sample, latent] = values
    return z


def test_latents_of_an_orthonormal_dictionary_are_decided_one_by_one():
    rows, prior = torch.eye(N_R)[:N_Q], statistics()
    amounts = torch.linspace(0.0, 5.0, 200)
    x = torch.zeros(200, N_R)
    x[:, 3] = amounts
    z = dense(x, weights(rows), prior)
    # nothing is left of these samples, so the last decision is at the lowest level
    v, s, m = NOISE / QUIET, 0.25, 4.0
    odds = np.log(0.1 / 0.9) - 0.5 * np.log((s + v) / v) - (amounts - m) ** 2 / (2 * (s + v)) + amounts**2 / (2 * v)
    expected = torch.where(odds > 0, (s * amounts + m * v) / (s + v), 0.0)
    # samples between the levels' decisions may end at another level; all others agree up to rounding
    clear = (amounts < 0.3) | (amounts > 2.5)
    torch.testing.assert_close(z[clear, 3], expected[clear].float(), rtol=1e-4, atol=1e-4)
    assert not z[:, [i for i in range(N_Q) if i != 3]].any()


def planted(B=400):
    """Return samples of the model, their true codes, and rows with cosines of up to about .5."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(N_Q, N_R, generator=generator))
    true = torch.where(
        torch.rand(B, N_Q, generator=generator) < 0.1, 4 + torch.randn(B, N_Q, generator=generator) / 2, 0
    )
    return true @ rows + 1.0 + NOISE**0.5 * torch.randn(B, N_R, generator=generator), true, rows


def test_planted_latents_are_recovered():
    x, true, rows = planted()
    z = dense(x, weights(rows, torch.ones(N_R)), statistics())
    # a code is 4 / sqrt(.05) = 18 deviations of the noise, so that chance makes no error in 4,800 decisions
    assert torch.equal(z > 0, true > 0)
    # given the others, the conditional mean is a deviation of the noise away: .22, and 5 of these at most here
    torch.testing.assert_close(z, true, rtol=0, atol=5 * NOISE**0.5)


def model(rows, prior, b_dec=torch.ones(N_R)):  # noqa: B008
    n_q, n_r = rows.shape
    config = ModelConfig(activation="posterior", n_q=n_q)
    coder = SparseCoder.from_config(config, (n_r,), (n_r,)).eval()
    state = {"W_enc": rows, "W_dec": rows, "b_dec": b_dec}
    coder.load_state_dict(
        coder.state_dict() | state | {f"sigma.{name}": value for name, value in prior._asdict().items()}
    )
    return coder


def test_a_model_has_the_same_sparse_and_dense_codes():
    x, true, rows = planted(50)
    coder = model(rows, statistics())
    with torch.no_grad():
        out = coder(x)
    torch.testing.assert_close(out.latents(), coder.sigma.encode(x, coder.weights), rtol=0, atol=0)
    assert out.csr().nnz == (true > 0).sum()
    torch.testing.assert_close(out.x_hat, coder.decode(out.latents()).detach(), rtol=1e-5, atol=1e-5)


def test_samples_that_are_not_finite_activate_nothing_and_disturb_no_other():
    x, _, rows = planted(20)
    expected = dense(x, weights(rows), statistics())
    x[3, 0], x[5, 1] = torch.nan, torch.inf
    z = dense(x, weights(rows), statistics())
    assert not z[[3, 5]].any()
    others = [i for i in range(20) if i not in (3, 5)]
    assert torch.equal(z[others], expected[others])


@pytest.fixture(scope="module")
def uncertain():
    """Samples of 48 dimensions with many decisions near a tie, their dictionary, and their codes in one call."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.nn.functional.normalize(torch.randn(96, 48, generator=generator))
    active = torch.rand(3000, 96, generator=generator) < 0.06
    sizes = 1 + torch.randn(3000, 96, generator=generator).abs()
    x = (active * sizes) @ rows + 0.3 * torch.randn(3000, 48, generator=generator)
    prior = statistics(p=0.06, mean=1.8, variance=0.36, noise=0.1, n_q=96)
    return x, weights(rows), prior, dense(x, weights(rows), prior)


def one_by_one(x):
    return list(x.split(1)), slice(None)


def shuffled(x):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))
    return [x[order]], order.argsort()


def beside_a_loud_sample(x):
    return [torch.cat([1e6 * x[:1], x])], slice(1, None)


@pytest.mark.parametrize("calls", [one_by_one, shuffled, beside_a_loud_sample])
def test_codes_of_a_sample_do_not_depend_on_the_other_samples(uncertain, calls):
    x, dictionary, prior, expected = uncertain
    parts, place = calls(x)
    got = torch.cat([dense(part, dictionary, prior) for part in parts])[place]
    assert torch.equal(got > 0, expected > 0)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@given(st.integers(-90, 90))
def test_codes_have_the_scale_of_the_samples(uncertain, exponent):
    """A power of two scales samples exactly. Squares of the scaled ones would overflow, or vanish, in float32."""
    x, (*_, rows, _), prior, expected = uncertain
    coder = model(rows, prior, b_dec=torch.zeros(48))
    coder.sigma.scale.fill_(2.0**exponent)
    with torch.no_grad():
        got = coder.encode(x[:50] * 2.0**exponent)
    assert torch.equal(got, expected[:50] * 2.0**exponent)
