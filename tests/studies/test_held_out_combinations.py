"""The study of combinations of features that training never contained."""

import pytest
from numpy.testing import assert_allclose

from studies.synthetic import held_out_combinations as study


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> study.World:
    monkeypatch.setattr(study, "TEST", 300)
    monkeypatch.setitem(study.WORLDS, "tiny", (32, 24, 3, 2000))
    return study.draw_world("tiny", 0)


def test_only_new_samples_combine_groups(drawn: study.World) -> None:
    for test, most in (("seen", 1), ("new", 3)):
        x, truth = drawn.tests[test]
        groups = [len(set(row.nonzero()[0] // 8)) for row in truth]
        assert max(groups) == most
        assert_allclose(x, truth @ drawn.directions, atol=6 * study.NOISE)


def test_fista_finds_the_codes_of_true_directions(drawn: study.World) -> None:
    x, truth = drawn.tests["seen"]
    codes = study.fista(x, drawn.directions, penalty=0.01)
    residual = x - codes @ drawn.directions
    # optimality: no latent's product with the residual exceeds the penalty, and active latents meet it
    products = residual @ drawn.directions.T
    assert products.max() < 0.011
    assert_allclose(products[codes > 1e-3], 0.01, atol=1e-3)
    assert study.correlation(codes, truth) > 0.95
