"""Splitting and shrinkage of constructed dictionaries with known values."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients
from sdlcore.evaluation.coefficient_scores import Splitting
from sdlcore.evaluation.recovery import normalise_rows
from sdlcore.random_streams import stream

N, N_R = 10, 16
W = np.linalg.qr(stream(0, "W").standard_normal((N_R, N)))[0].T  # one row per feature
X = coefficients(1500, N, BenchSamples(sparsity=0.8, c_min=0.2), stream(0, "x"))


def judged(latents, W_dec, true=W, x=X, blocks=1):
    splitting = Splitting(W_dec, true)
    rows = np.array_split(np.arange(x.shape[0]), blocks)
    for part in rows:
        splitting.add(scipy.sparse.csr_array(np.asarray(latents)[part]), x[part])
    return splitting


def test_the_true_features_are_neither_split_nor_shrunk():
    scores = judged(X.toarray(), W)
    assert (scores.latents == 1).all()
    assert scores.slopes == pytest.approx(1)
    assert scores.metrics() == {"splitting": 1.0, "shrinkage": pytest.approx(0, abs=1e-6)}


@given(pieces=st.lists(st.integers(1, 4), min_size=N, max_size=N), seed=st.integers(0, 100))
def test_a_feature_has_as_many_latents_as_take_turns_at_it(pieces, seed):
    """Each sample activates one of the feature's latents; their sum is the coefficient in any case."""
    x, turn = X.toarray(), stream(seed).integers(0, 12, X.shape)
    latents = np.hstack([np.where(turn[:, [i]] % k == np.arange(k), x[:, [i]], 0) for i, k in enumerate(pieces)])
    scores = judged(latents, np.repeat(W, pieces, axis=0), blocks=3)
    assert (scores.latents == pieces).all()
    assert scores.metrics() == {"splitting": np.mean(pieces), "shrinkage": pytest.approx(0, abs=1e-6)}


@given(scales=st.lists(st.floats(0.1, 2), min_size=N, max_size=N))
def test_slopes_are_what_coefficients_are_scaled_by_however_latents_and_columns_share_it(scales):
    share = stream(1).uniform(0.2, 5, N)
    scores = judged(X.toarray() * np.array(scales) / share, W * share[:, None])
    assert scores.slopes == pytest.approx(scales)
    assert scores.metrics()["shrinkage"] == pytest.approx(1 - np.median(scales))


def test_soft_thresholding_counts_as_shrinkage():
    x = X.toarray().astype(float)
    soft = np.maximum(x - 0.2, 0)
    expected = [(soft[:, i] * x[:, i]).sum() / np.square(x[:, i]).sum() for i in range(N)]
    assert judged(soft, W).slopes == pytest.approx(expected)
    assert judged(soft, W).metrics()["shrinkage"] > 0.05


def test_latents_that_are_dead_point_elsewhere_or_fire_without_the_feature_do_not_count():
    x = X.toarray()
    dead, without = np.zeros(len(x)), np.where(x[:, 0] > 0, 0, 1.0)
    near = normalise_rows(W[:1] + 0.3 * W[1:2])  # cosine .958 with feature 0
    far = normalise_rows(W[:1] + 0.6 * W[1:2])  # .857
    scores = judged(
        np.column_stack([x, dead, without, x[:, 0], x[:, 0], x[:, 0]]), np.vstack([W, W[0], W[0], near, far, -W[0]])
    )
    assert scores.latents.tolist() == [2] + [1] * (N - 1)


def test_without_a_match_splitting_and_shrinkage_are_none():
    assert judged(X.toarray(), -W).metrics() == {"splitting": None, "shrinkage": None}
