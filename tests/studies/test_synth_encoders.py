"""Encoders that know SynthSAEBench's true features."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.model.activation import Weights
from sdlcore.model.activations.posterior import QUIET, RATIO, Statistics, codes
from studies.synthetic import synth_encoders


@pytest.fixture
def interpreted(monkeypatch):
    """Run the loops in Python, since few samples take less time than compilation."""
    for name in ("search", "histograms", "_child", "_has_child"):
        monkeypatch.setattr(synth_encoders, name, getattr(synth_encoders, name).py_func)


@pytest.mark.parametrize("codes", synth_encoders.CODES)
def test_latents_detect_their_feature_in_samples_that_tuned_nothing(codes, interpreted):
    bench = sdl.SynthBench.draw(seed=0, n=16, n_p=32, roots=2, depth=1, min_frequency=0.05, orthogonal_steps=0)
    rows, encode = synth_encoders.encoder(codes, bench, 200)
    nearest = (rows @ bench.W_p).argmax(axis=1)
    assert rows == pytest.approx(bench.W_p.T[nearest])
    test = bench.samples(50, "test")
    active, fires = test.features.toarray()[:, nearest] > 0, encode(torch.from_numpy(test.input)).numpy() > 0
    assert fires.shape == (50, 4)
    assert np.mean(2 * (active & fires).sum(axis=0) / (active.sum(axis=0) + fires.sum(axis=0))) > 0.9


def test_a_child_needs_its_parent(interpreted):
    bench = sdl.SynthBench.draw(seed=0, n=8, n_p=32, roots=1, branching=2, depth=1, orthogonal_steps=0)
    frequencies = np.linspace(0.4, 0.05, 8)
    forest = synth_encoders.trees(bench, np.arange(8), frequencies, known_trees=True)
    assert forest.parents.tolist() == [-1, 0, 0, -1, -1, -1, -1, -1]
    assert forest.members[forest.offsets[0] : forest.offsets[1]].tolist() == [1, 2]
    truth = synth_encoders.Known(
        bench.W_p.T.copy(), frequencies, np.full(8, 5.0), np.full(8, 0.5), np.zeros(32, np.float32), 0.01
    )
    posterior = synth_encoders.Posterior(truth, forest, latents=8, loudest=2.0, offset=0.0)
    x = torch.from_numpy(np.stack([5 * bench.W_p[:, 1], 5 * bench.W_p[:, 0] + 5 * bench.W_p[:, 1]]))
    codes = posterior.encode(x).numpy()
    assert codes[:, 1].tolist() == [0, pytest.approx(5, abs=0.5)]
    assert codes[1, 0] == pytest.approx(5, abs=0.5)


def test_without_trees_the_library_finds_the_same_features(interpreted, monkeypatch):
    """Posterior codes of sdlcore add several latents at once; the noise levels are made the same here."""
    levels = 0.04 / QUIET * RATIO ** np.arange(60, dtype=np.float32)
    monkeypatch.setattr(synth_encoders, "noise_levels", lambda noise, loudest: levels[: 1 + (levels < loudest).sum()])
    rng, n, n_p = np.random.default_rng(0), 12, 40
    rows = rng.standard_normal((n, n_p)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    true = np.where(rng.random((50, n)) < 0.1, 4 + rng.standard_normal((50, n)) / 2, 0).astype(np.float32)
    x = torch.from_numpy(true @ rows + 0.2 * rng.standard_normal((50, n_p)).astype(np.float32))
    share, mean, variance, noise = np.full(n, 0.1), np.full(n, 4.0), np.full(n, 0.25), 0.04
    truth = synth_encoders.Known(rows, share, mean, variance, np.zeros(n_p, np.float32), noise)
    alone = synth_encoders.Trees(
        np.full(n, -1), np.zeros(n + 1, np.int64), np.zeros(0, np.int64), *np.ones((3, n), np.float32), True
    )
    expected = synth_encoders.Posterior(truth, alone, n, loudest=float(x.square().mean(1).max()), offset=0.0).encode(x)
    statistics = Statistics(
        *(torch.as_tensor(each).float() for each in (np.log(share / (1 - share)), mean, variance, noise))
    )
    W_dec = torch.from_numpy(rows)
    sample, latent, values = codes(x, Weights(W_dec, torch.zeros(n), W_dec, torch.zeros(n_p)), statistics)
    actual = torch.zeros(50, n)
    actual[sample, latent] = values
    assert torch.equal(actual > 0, expected > 0)
    # the plain search ends where codes change by less than .02, and such changes add up over a few active latents
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.1)
