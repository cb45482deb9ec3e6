"""Encoder rows beside read-outs of decoder columns."""

import numpy as np
import pytest

from studies.language.encoder_law import Basis, measure

N_P, N_Q = 24, 400


@pytest.fixture(scope="module")
def basis():
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((N_P, N_P)) * np.geomspace(3, 0.1, N_P)
    return Basis.of(mixed @ mixed.T)


def planted(basis, rho):
    W_dec = np.random.default_rng(1).standard_normal((N_Q, N_P))
    return basis.read_outs(W_dec, rho), W_dec


def test_read_outs_solve_the_regularised_equations(basis):
    covariance = (basis.vectors * basis.values) @ basis.vectors.T
    rows, W_dec = planted(basis, 0.3)
    np.testing.assert_allclose(rows @ (covariance + 0.3 * np.eye(N_P)), W_dec, atol=1e-10)


def test_a_planted_ridge_is_recovered_and_null_baselines_are_not(basis):
    measures = measure(basis, *planted(basis, 0.3))
    assert measures["rho"] == pytest.approx(0.3, rel=1e-3)
    assert measures["readout"] == pytest.approx(1)
    assert measures["decoder"] == pytest.approx(measures["turned"])
    assert measures["decoder"] < 0.9
    assert measures["gain_low"] <= measures["gain"] <= measures["gain_high"]
    assert measures["nearer"] == 1
    # cosines of unrelated directions spread by 1 / sqrt(N_P) around 0; 4 standard errors of a mean of 200
    for null in ("shuffled", "random"):
        assert abs(measures[null]) < 4 / (N_P * N_Q / 2) ** 0.5 * 3  # the read-outs keep a third of the dimensions
