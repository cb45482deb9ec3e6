import numpy as np
import pytest

import sdlcore as sdl
from studies.synthetic import planted_sites


@pytest.mark.parametrize("n_sites", [2, 3])
def test_features_occur_where_they_should_and_samples_are_their_sums(n_sites, monkeypatch):
    monkeypatch.setattr(planted_sites, "TRAIN", 300)
    monkeypatch.setattr(planted_sites, "TEST", 50)
    bench = planted_sites.planted(n_sites, seed=0)
    assert bench.occurs[:64].all()
    assert not bench.occurs[64:].all(axis=1).any()
    assert bench.occurs.any(axis=1).all()
    for site, (rows, width) in enumerate(zip(bench.directions, planted_sites.WIDTHS[n_sites], strict=True)):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), bench.occurs[:, site], atol=1e-6)
        assert (bench.train[site].shape, bench.test[site].shape) == ((300, width), (50, width))
    first = sdl.Bench.draw(n=128, n_p=96, sparsity=0.97, max_interference=0.25, seed=0)
    features = first.samples(50, "test").features.toarray()  # equal at all sites
    for x, rows in zip(bench.test, bench.directions, strict=True):
        np.testing.assert_allclose(x, features @ rows, atol=1e-5)


def test_f1():
    truth, predicted = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert planted_sites.f1(truth, predicted) == 0.5
    assert planted_sites.f1(truth, truth) == 1
    assert planted_sites.f1(~truth, truth) == 0
