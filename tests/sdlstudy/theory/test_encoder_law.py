import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlstudy.theory.encoder_law import gain, law, own_cosines, own_products, read_outs
from sdlstudy.theory.landscape import unit_columns

N_P = 160
noises = st.floats(1e-6, 100)


def random_features(n, n_p=N_P):
    return unit_columns(n_p, n, stream(n, "readout"))


@pytest.mark.parametrize("n", [80, 120, 200, 260, 400, 640])
def test_the_law_is_the_cosine_of_least_squares_read_outs_of_random_features(n):
    W = random_features(n)
    assert own_cosines(read_outs(W), W).mean() == pytest.approx(law(n, N_P), abs=0.015)
    assert own_products(read_outs(W), W).mean() == pytest.approx(gain(n, N_P), abs=1e-6)


@pytest.mark.parametrize("n", [100, 160, 200, 320])
@pytest.mark.parametrize("noise", [0.05, 0.5, 4.0])
def test_with_noise_it_is_so_too_and_at_n_equal_to_n_p(n, noise):
    W = random_features(n)
    rows = read_outs(W, noise)
    assert own_cosines(rows, W).mean() == pytest.approx(law(n, N_P, noise), abs=0.01)
    assert own_products(rows, W).mean() == pytest.approx(gain(n, N_P, noise), abs=0.01)


def test_read_outs_are_what_regression_finds_in_samples():
    rng = stream(0, "samples")
    n, n_p, noise = 30, 20, 0.3
    W = unit_columns(n_p, n, rng)
    x = rng.exponential(size=(200_000, n)) * (rng.random((200_000, n)) < 0.3)
    y = x @ W.T
    y += np.sqrt(noise * y.var(axis=0).mean()) * rng.standard_normal(y.shape)
    y, x = y - y.mean(axis=0), x - x.mean(axis=0)
    read_outs_of_samples = np.linalg.lstsq(y, x, rcond=None)[0].T
    np.testing.assert_allclose(read_outs_of_samples, read_outs(W, noise), atol=0.02)


@pytest.mark.parametrize(("n", "noise"), [(130, 0.0), (130, 0.2), (200, 0.0), (80, 0.5), (200, 1.0)])
@pytest.mark.parametrize("samples", [300, 2000])
def test_a_regression_on_few_samples_turns_rows_away_from_their_features(n, noise, samples):
    rng = stream(n, "regression")
    W = unit_columns(100, n, rng)
    x = rng.standard_normal((samples, n))
    y = x @ W.T + np.sqrt(noise * n / 100) * rng.standard_normal((samples, 100))
    rows = np.linalg.lstsq(y, x, rcond=None)[0].T
    assert own_cosines(rows, W).mean() == pytest.approx(law(n, 100, noise, samples), abs=0.02)


@given(st.floats(1, 5000), st.floats(1, 5000), noises)
def test_cosine_and_gain_are_shares_and_noise_turns_rows_to_their_features(n, n_p, noise):
    assert 0 <= law(n, n_p) <= law(n, n_p, noise) + 1e-6 <= 1 + 2e-6
    assert law(n, n_p, noise) <= law(n, n_p, 2 * noise) + 1e-9
    assert 0 < gain(n, n_p, noise) <= gain(n, n_p, noise, active=0.01) <= 1
    assert gain(n, n_p, 2 * noise) <= gain(n, n_p, noise) <= gain(n, n_p) + 1e-9


@given(st.floats(1.02, 50), st.booleans())
def test_without_noise_it_is_the_limit_of_little_noise_and_the_same_above_and_below_n_p(ratio, above):
    n, n_p = (768 * ratio, 768) if above else (768, 768 * ratio)
    assert law(n, n_p) == pytest.approx(np.sqrt(1 - 1 / ratio))
    assert law(n, n_p, 1e-9) == pytest.approx(law(n, n_p), abs=1e-4)
    assert gain(n, n_p, 1e-9) == pytest.approx(gain(n, n_p), abs=1e-4)


def test_at_the_paper_s_bench_it_is_48_hundredths():
    assert law(1000, 768) == pytest.approx(0.4817, abs=1e-4)
    assert gain(1000, 768) == pytest.approx(0.768)
    assert gain(1000, 768, active=0.01) == pytest.approx(0.997, abs=1e-3)
