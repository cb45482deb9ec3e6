"""The Linear Representation Bench: bounded features, sparse coefficients, hierarchies, groups, noise and streams."""

import hashlib

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sdlcore as sdl
from sdlcore.benches.config import BenchFeatures, BenchSamples, Hierarchy, zipf_probabilities
from sdlcore.benches.lrb import (
    MARGIN,
    NEGATIVE_INTERFERENCE,
    _interference_gradient,
    coefficients,
    feature_matrix,
    leaked_start,
    noisy,
    synthesise,
)
from sdlcore.config import ModelConfig
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import load_references
from sdlcore.evaluation.recovery import best_match, mip, normalise_rows
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from tests.conftest import script

N, N_P, N_Q = 128, 96, 512


def draw(n_samples, n, seed, *names, **settings):
    """Draw coefficients from the named stream, and groups from another."""
    return coefficients(n_samples, n, BenchSamples(**settings), stream(seed, *names), stream(seed, *names, "groups"))


def interference(W):
    gram = W.astype(np.float64).T @ W.astype(np.float64)
    return gram[~np.eye(len(gram), dtype=bool)]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    dimension=st.integers(8, 48),
    ratio=st.floats(0.2, 1.4),
    M=st.floats(0.3, 0.6),
)
def test_what_is_returned_keeps_the_bound_and_says_what_it_reached(seed, dimension, ratio, M):
    n = max(2, round(ratio * dimension))
    matrix = feature_matrix(dimension, n, stream(seed), M)
    assert matrix.W.shape == (dimension, n)
    assert matrix.W.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(matrix.W, axis=0), 1, atol=1e-6)
    products = interference(matrix.W)
    assert matrix.max_signed == pytest.approx(products.max(), abs=1e-6)
    assert matrix.max_absolute == pytest.approx(np.abs(products).max(), abs=1e-6)
    assert matrix.max_signed <= M


def test_the_gradient_is_that_of_equation_27():
    M = 0.2
    W = np.random.default_rng(0).standard_normal((5, 9))
    W /= np.linalg.norm(W, axis=0)
    w = torch.tensor(W, requires_grad=True)
    limit = M * (1 - MARGIN)
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(9):
        for j in range(9):
            if i != j:
                product = w[:, i] @ w[:, j]
                loss = loss + torch.relu(product - limit) ** 2
                loss = loss + NEGATIVE_INTERFERENCE * torch.relu(product) ** 2
    loss.backward()
    gram = W.T @ W
    np.fill_diagonal(gram, 0)
    np.testing.assert_allclose(_interference_gradient(W, gram, M), w.grad.numpy(), atol=1e-12)


def test_a_bound_out_of_reach_is_an_error():
    with pytest.raises(ValueError, match=r"max_interference 0\.01 was not reached for 200 features in 8"):
        feature_matrix(8, 200, stream(0), 0.01)


def start_of(initialisation: str) -> np.ndarray:
    config = ModelConfig(activation="topk", k=4, n_q=N_Q, initialisation=initialisation)
    return normalise_rows(
        SparseCoder.from_config(config, (N_P,), (N_P,), torch_stream(3, "initialisation")).W_enc.detach().numpy()
    )


def features(start: np.ndarray | None) -> np.ndarray:
    return feature_matrix(N_P, N, stream(3, "feature matrix", "W_p"), 0.3, start).W.T


@pytest.mark.parametrize(("initialisation", "share"), [("tied", 0.9), ("linear", 0.3)])
def test_with_the_leak_latents_start_at_the_features(initialisation, share):
    leaked = best_match(start_of(initialisation), features(leaked_start(N_P, N, 3)))
    honest = best_match(start_of(initialisation), features(None))
    assert mip(leaked) > mip(honest) + 0.02
    assert (leaked.latent == np.arange(N)).mean() > share
    # independent initialisation does not know the features
    assert (honest.latent == np.arange(N)).mean() < 0.05


def test_each_feature_is_active_with_probability_1_minus_S_independently():
    n_samples, n, p = 40_000, 12, 0.15
    active = draw(n_samples, n, 1, sparsity=1 - p).toarray() > 0
    assert np.abs(active.mean(0) - p).max() < 5 * np.sqrt(p * (1 - p) / n_samples)
    correlation = np.corrcoef(active.T)
    assert np.abs(correlation[~np.eye(n, dtype=bool)]).max() < 5 / np.sqrt(n_samples)


def test_magnitudes_are_shifted_exponentials_with_scale_beta():
    magnitudes = draw(20_000, 5, 2, sparsity=0.5, c_min=0.7, beta=2.5).data
    assert scipy.stats.kstest(magnitudes, scipy.stats.expon(loc=0.7, scale=2.5).cdf).pvalue > 0.001


def test_noise_has_the_configured_share_of_the_energy():
    n, dimension, noise = 60, 40, 0.5
    bench = BenchSamples(sparsity=0.9, c_min=0.3, beta=0.7, noise=noise)
    W = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]  # orthonormal features
    clean = synthesise(coefficients(20_000, n, bench, stream(1), stream(2)), W)
    samples = noisy(clean, n, bench, stream(1, "noise"))
    added = samples - clean
    assert np.square(added).mean() == pytest.approx(noise**2 * np.square(clean).mean(), rel=0.03)
    assert abs(added.mean()) < 5 * added.std() / np.sqrt(added.size)
    assert np.abs(np.corrcoef(added[:, :dimension].T) - np.eye(dimension)).max() < 6 / np.sqrt(len(added))
    assert samples.dtype == np.float32


hierarchies = st.builds(Hierarchy, parents=st.integers(1, 4), children=st.integers(1, 5))


def active_with(hierarchy, seed, sparsity, n, n_samples=200):
    return draw(n_samples, n, seed, sparsity=sparsity, c_min=0.1, hierarchy=hierarchy).toarray() > 0


@settings(max_examples=40)
@given(hierarchy=hierarchies, others=st.integers(0, 6), seed=st.integers(0, 1000), sparsity=st.floats(0, 0.99))
def test_a_parent_is_active_iff_a_child_of_it_is_and_nothing_else_changes(hierarchy, others, seed, sparsity):
    n = hierarchy.size + others
    with_, without = (active_with(h, seed, sparsity, n) for h in (hierarchy, None))
    for parent in range(hierarchy.parents):
        assert (with_[:, parent] == with_[:, list(hierarchy.family(parent))].any(axis=1)).all()
    assert (with_[:, hierarchy.parents :] == without[:, hierarchy.parents :]).all()


def test_without_a_hierarchy_the_bench_is_what_it_was():
    x = draw(300, 12, 7, "samples", "train", sparsity=0.8, c_min=0.1, beta=2.0)
    content = hashlib.sha256(x.toarray().tobytes()).hexdigest()
    assert content == "d0352973848cd9a24797b13641ec154aee541e952acecf85601e4f94f615f719"


N_SAMPLES, N_GROUPED = 40_000, 12


def active(seed=0, p=0.1, exponent=0.0, n=N_GROUPED, n_samples=N_SAMPLES, **settings):
    return draw(n_samples, n, seed, sparsity=1 - p, c_min=0.1, frequency_exponent=exponent, **settings).toarray() > 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100), p=st.floats(0.02, 0.4), correlation=st.floats(0, 1), size=st.integers(2, 7))
def test_groups_leave_each_feature_as_frequent_as_it_was(seed, p, correlation, size):
    rates = active(seed, p, correlation=correlation, group_size=size, n_samples=10_000).mean(axis=0)
    assert np.abs(rates - p).max() < 6 * np.sqrt(p * (1 - p) / 10_000)


@pytest.mark.parametrize("correlation", [0.2, 0.7, 1.0])
def test_two_features_of_a_group_correlate_by_as_much_and_others_do_not(correlation):
    correlations = np.corrcoef(active(correlation=correlation, group_size=5).T)
    group = np.arange(N_GROUPED) // 5
    same = (group[:, None] == group) & ~np.eye(N_GROUPED, dtype=bool)
    assert correlations[same] == pytest.approx(correlation, abs=0.04)
    assert np.abs(correlations[group[:, None] != group]).max() < 5 / np.sqrt(N_SAMPLES)


def test_where_probabilities_differ_it_is_a_share_of_the_largest_that_they_allow():
    p, correlation = np.array(zipf_probabilities(N_GROUPED, 0.1, 1.0)), 0.6
    covariances = np.cov(active(exponent=1.0, correlation=correlation, group_size=N_GROUPED).T, bias=True)
    most = np.minimum.outer(p, p) - np.outer(p, p)
    np.fill_diagonal(most, p * (1 - p) / correlation)
    assert covariances == pytest.approx(correlation * most, abs=5e-3)


@settings(max_examples=25)
@given(n=st.integers(2, 400), p=st.floats(0.001, 0.2), exponent=st.floats(0, 2))
def test_probabilities_fall_as_a_power_of_the_place_and_keep_their_mean(n, p, exponent):
    weights = np.arange(1, n + 1) ** -exponent
    if p * n / weights.sum() > 1:
        with pytest.raises(ValueError, match="most frequent"):
            zipf_probabilities(n, p, exponent)
        return
    probabilities = np.array(zipf_probabilities(n, p, exponent))
    assert probabilities.mean() == pytest.approx(p)
    assert probabilities.max() <= 1
    slopes = np.diff(np.log(probabilities)) / np.diff(np.log(np.arange(1, n + 1)))
    assert slopes == pytest.approx(-exponent, abs=1e-6)


BENCH = {"n": 12, "n_p": 10, "n_r": 8, "sparsity": 0.8, "c_min": 0.1, "max_interference": 0.9}


def test_noise_changes_no_coefficient_and_is_another_in_input_and_target():
    plain, noisy = (sdl.Bench.draw(seed=5, noise=noise, **BENCH).samples(9000) for noise in (0.0, 0.5))
    assert (plain.features.toarray() == noisy.features.toarray()).all()
    added = [noisy.input - plain.input, noisy.target - plain.target]
    assert abs(np.corrcoef(added[0][:, 0], added[1][:, 0])[0, 1]) < 5 / np.sqrt(9000)


SMALL = {"n": 12, "n_p": 8, "sparsity": 0.8, "max_interference": 0.5}


@pytest.fixture(scope="module")
def bench():
    return sdl.Bench.draw(seed=3, n_r=6, noise=0.1, correlation=0.5, group_size=3, **SMALL)


def test_a_bench_is_the_pipelines_for_the_same_settings_and_seed(bench, tmp_path):
    features = BenchFeatures(n=12, n_p=8, n_r=6, max_interference=0.5)
    script("feature_matrix")(bench=features, seed=3, output=tmp_path / "features.safetensors")
    drawn = BenchSamples(9000, 50, sparsity=0.8, noise=0.1, correlation=0.5, group_size=3)
    paths = {"train": tmp_path / "train.h5", "test": tmp_path / "test.h5"}
    script("samples")(bench=drawn, seed=3, feature_matrix=tmp_path / "features.safetensors", **paths)

    assert np.array_equal(bench.W_p, load_references(tmp_path / "features.safetensors").W_p)
    for part, rows in (("train", 9000), ("test", 50)):
        samples = bench.samples(rows, part)
        with ActivationStore(paths[part]) as store:
            assert np.array_equal(samples.input, store.read("input"))
            assert np.array_equal(samples.target, store.read("target"))
            assert np.array_equal(samples.features.toarray(), store.features().toarray())


def test_a_bench_with_one_representation_gives_one_array_and_one_with_two_gives_two(bench):
    assert sdl.Bench.draw(seed=0, **SMALL).sample(5).shape == (5, 8)
    x, target = bench.sample(5)
    assert (x.shape, target.shape) == ((5, 8), (5, 6))
    standard = sdl.standard_bench("lrb-s")
    assert standard.W_p.shape == standard.W_r.shape == (96, 128)
    assert len(bench.anchors(0.25).feature) == 3


def test_parts_are_independent_and_each_is_the_same_every_time(bench):
    first, again, other = bench.sample(20)[0], bench.sample(20)[0], bench.sample(20, "test")[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
