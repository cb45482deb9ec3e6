"""The experiment on rows and codes: its codes against plain references."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from studies import KEPT
from studies.rows_and_codes import codes, ignorance


@pytest.fixture(scope="module")
def dictionary() -> sdl.Dictionary:
    x = np.random.default_rng(0).normal(size=(256, 12)).astype(np.float32)
    return sdl.fit(x, activation="batchtopk", k=3, n_q=24, steps=20, batch_size=64, progress=False)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(200, 12, generator=torch.Generator().manual_seed(1))


def test_an_encoder_has_the_requested_l0(dictionary, x):
    for l0 in (1.5, 2.5):
        by_encoder = codes.mean_l0(codes.Coded.from_dictionary(codes.batchtopk_at(dictionary, x, l0)), x)
        assert by_encoder == pytest.approx(l0, abs=0.02)


def test_codes_by_least_squares_on_true_supports(x):
    rows = torch.nn.functional.normalize(torch.randn(24, 12, generator=torch.Generator().manual_seed(2)))
    truth = torch.zeros(200, 24)
    truth.scatter_(1, torch.randint(0, 24, (200, 3), generator=torch.Generator().manual_seed(3)), 2.0)
    actual = codes.least_squares_on(rows, truth @ rows, truth > 0)
    np.testing.assert_allclose(actual, truth, atol=1e-4)


def test_each_kind_of_rows_gets_the_rate_with_the_highest_f1_of_the_pilot():
    rates = ignorance.chosen_rates(KEPT / "rows_ignorance_pilot.csv")
    assert set(rates) == set(ignorance.ROWS)
    assert rates["trees, detached"] == 0.01
    assert rates["no prefixes"] == 0.03
