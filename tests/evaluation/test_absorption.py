"""Absorption of constructed dictionaries with known absorption."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.benches.config import BenchSamples, Hierarchy
from sdlcore.benches.lrb import coefficients
from sdlcore.evaluation import absorption as module
from sdlcore.evaluation.absorption import absorption_score, match_latents
from sdlcore.evaluation.recovery import normalise_rows
from sdlcore.random_streams import stream

HIERARCHY = Hierarchy(3, 4)
N, N_R = 18, 24


def absorption(*arguments):
    """The pairs as a data frame."""
    return pd.DataFrame(module.absorption(*arguments))


def truth(seed=0, sparsity=0.95):
    """Orthonormal features, and samples of them."""
    W = np.linalg.qr(stream(seed, "W").standard_normal((N_R, N)))[0]
    return W, coefficients(
        3000, N, BenchSamples(sparsity=sparsity, c_min=1.0, beta=0.25, hierarchy=HIERARCHY), stream(seed, "x")
    )


def absorbing(x, W, pairs):
    """Return latents and decoder of a dictionary whose latents for these children point along child plus parent."""
    latents, decoder = x.toarray().astype(float), W.T.copy()
    for parent, child in pairs:
        decoder[child] += W[:, parent]
        latents[latents[:, child] > 0, parent] = 0
    return latents, decoder


every_pair = [(parent, child) for parent in range(HIERARCHY.parents) for child in HIERARCHY.family(parent)]


def test_the_true_features_absorb_nothing():
    W, x = truth()
    pairs = absorption(x.toarray(), x, W.T, W, HIERARCHY)
    assert absorption_score(pairs) == 0
    assert pairs[["own", "fires"]].to_numpy() == pytest.approx(1)
    assert pairs["carried"].to_numpy() == pytest.approx(0, abs=1e-6)
    assert not pairs["lost"].any()


@given(chosen=st.sets(st.sampled_from(every_pair)))
def test_just_the_pairs_whose_child_carries_its_parent_are_absorbed(chosen):
    W, x = truth()
    latents, decoder = absorbing(x, W, chosen)
    pairs = absorption(latents, x, decoder, W, HIERARCHY)
    assert {tuple(pair) for pair in pairs.loc[pairs["absorbed"], ["parent", "child"]].to_numpy()} == chosen
    assert absorption_score(pairs) == pytest.approx(len(chosen) / len(every_pair))
    silent = pairs["absorbed"].to_numpy()
    assert (pairs["fires"].to_numpy() == np.where(silent, 0, 1)).all()


def test_the_numbers_are_sums_over_the_samples_with_that_child_alone():
    """Compare with the definition, evaluated sample by sample."""
    W, x = truth(sparsity=0.8)
    latents, decoder = absorbing(x, W, every_pair[:5])
    latents *= stream(3).random(latents.shape)
    dense, pairs = x.toarray(), absorption(latents, x, decoder, W, HIERARCHY)
    for row in pairs.itertuples():
        parent_sum = carried = total = fires = samples = 0.0
        for z, truth_ in zip(latents, dense, strict=True):
            family = [child for child in HIERARCHY.family(row.parent) if truth_[child] > 0]
            if family != [row.child]:
                continue
            samples, fires, total = samples + 1, fires + (z[row.parent] > 0), total + truth_[row.parent]
            parent_sum += z[row.parent] * decoder[row.parent] @ W[:, row.parent]
            carried += z[row.child] * decoder[row.child] @ W[:, row.parent]
        assert (row.samples, row.fires) == (samples, pytest.approx(fires / samples))
        assert (row.own, row.carried) == (pytest.approx(parent_sum / total), pytest.approx(carried / total))


def test_a_parent_that_nothing_stands_in_for_is_lost_not_absorbed():
    W, x = truth()
    latents = x.toarray()
    latents[:, 0] = 0
    pairs = absorption(latents, x, W.T, W, HIERARCHY)
    assert absorption_score(pairs) == 0
    assert (pairs["lost"] == (pairs["parent"] == 0)).all()


def test_scaling_a_latent_against_its_decoder_column_changes_nothing():
    W, x = truth()
    latents, decoder = absorbing(x, W, every_pair[::2])
    scale = stream(5).uniform(0.1, 10, N)
    before = absorption(latents, x, decoder, W, HIERARCHY)
    after = absorption(latents * scale, x, decoder / scale[:, None], W, HIERARCHY)
    assert after.to_numpy(dtype=float) == pytest.approx(before.to_numpy(dtype=float))


def test_latents_are_matched_one_to_one_with_features():
    W, _ = truth()
    order = stream(4).permutation(N)
    decoder = normalise_rows(W.T + 0.02 * stream(4, "noise").standard_normal((N, N_R)))[order]
    assert (order[match_latents(decoder, W)] == np.arange(N)).all()
    assert len(set(match_latents(stream(6).standard_normal((30, N_R)), W))) == N


def test_a_child_that_is_never_alone_says_nothing():
    W, x = truth()
    x = x.toarray()
    x[x[:, 3] > 0, 4] = 1.0
    pairs = absorption(x, type(truth()[1])(x), W.T, W, HIERARCHY)
    row = pairs[pairs["child"] == 3].iloc[0]
    assert row["samples"] == 0
    assert np.isnan(row["own"])
    assert not row["absorbed"]
    assert absorption_score(pairs) == 0
    assert np.isnan(absorption_score(pairs[pairs["child"] == 3]))
