"""Encoders that know SynthSAEBench's true features."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
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
