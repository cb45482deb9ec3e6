"""Posterior codes replace the encoder after training, and detect features better."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.codes.posterior import with_posterior_codes
from sdlcore.config import ModelConfig
from sdlcore.data.arrays import Arrays
from sdlcore.model.coder import SparseCoder

SETTINGS = {"activation": "batchtopk", "k": 3, "n_q": 32, "bias": True, "lr": 3e-3, "progress": False}


@pytest.fixture(scope="module")
def bench():
    return sdl.SynthBench.draw(seed=0, n=128, n_p=64, roots=1)


@pytest.fixture(scope="module")
def fitted(bench):
    """Two dictionaries from the same training, with the trained encoder and with posterior codes."""
    x = bench.samples(20_000).input
    trained = sdl.fit(x, steps=300, **SETTINGS)
    return trained, sdl.search(trained, x, n_samples=10_000, progress=False)


def test_posterior_codes_keep_directions_and_detect_better(bench, fitted):
    trained, posterior = fitted
    cosines = torch.nn.functional.cosine_similarity(trained.W_dec, posterior.W_dec)
    torch.testing.assert_close(cosines, torch.ones(32), rtol=0, atol=1e-6)
    before, after = (sdl.evaluate(one, bench, n_samples=5000, nulls=False) for one in (trained, posterior))
    assert after["detection_f1"] > before["detection_f1"] + 0.02
    # the oracle has other rows, so the statistics of this dictionary do not apply; a threshold needs no codes at all
    assert 0 < after["oracle_fvu"] < 10
    assert after["mcc"] == pytest.approx(before["mcc"], abs=1e-5)


def test_statistics_are_those_of_the_samples():
    # three latents of an orthonormal dictionary with rows of norm 2, active in 1/2, 1/4 and none of the samples
    model = SparseCoder.from_config(ModelConfig(activation="relu", n_q=3, bias=True), (8,), (8,)).eval()
    rows = torch.eye(8)[:3]
    model.load_state_dict(model.state_dict() | {"W_enc": rows / 2, "W_dec": 2 * rows, "b_dec": torch.zeros(8)})
    x = np.zeros((4000, 8), dtype=np.float32)
    x[::2, 0], x[::4, 1] = 4.0, 3.0
    x[:, 3:] = np.random.default_rng(0).standard_normal((4000, 5)) / 10
    statistics = with_posterior_codes(model, Arrays(x), 4000).sigma.statistics
    p = torch.sigmoid(statistics.log_odds)
    torch.testing.assert_close(p[:2], torch.tensor([0.5, 0.25]))
    assert p[2] == pytest.approx(1 / 4000, rel=1e-3)
    # in the second round, the codes are conditional means, between the product and the mean, which agree here
    torch.testing.assert_close(statistics.means[:2], torch.tensor([4.0, 3.0]), rtol=1e-3, atol=0)
    # five of eight dimensions have noise of variance .01; 20,000 draws estimate it to 4 / sqrt(10,000) at worst
    assert float(statistics.noise) == pytest.approx(0.01 * 5 / 8, rel=0.04)


def test_a_dictionary_without_active_latents_is_refused():
    model = SparseCoder.from_config(ModelConfig(activation="relu", n_q=3, bias=True), (8,), (8,)).eval()
    with pytest.raises(
        ValueError,
        match=r"posterior codes: no latent is active in 3 samples \(of 10\); give more samples, or train longer",
    ):
        with_posterior_codes(model, Arrays(np.ones((10, 8), dtype=np.float32)), 10)


def test_latents_that_explain_too_little_keep_their_rows():
    """A latent of a random direction that is active in a few samples of pure noise has odds below 1 everywhere."""
    model = SparseCoder.from_config(ModelConfig(activation="relu", n_q=3, bias=True), (8,), (8,)).eval()
    rows = torch.eye(8)[:3]
    state = {"W_enc": rows, "W_dec": rows, "b_enc": torch.full((3,), -2.2), "b_dec": torch.zeros(8)}
    model.load_state_dict(model.state_dict() | state)
    x = np.random.default_rng(0).standard_normal((1000, 8)).astype(np.float32)
    coder = with_posterior_codes(model, Arrays(x), 1000)
    assert (
        coder(torch.from_numpy(x)).csr().nnz <= 3 * 2
    )  # each of the three latents is active in fewer than three samples
    torch.testing.assert_close(coder.W_dec, rows)
