import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.evaluation.recovery import (
    Match,
    best_match,
    chance_recovery,
    gt_recovery,
    hungarian,
    mip,
    normalise_rows,
    one_to_one,
    simulated_chance,
)
from sdlcore.random_streams import stream
from tests.evaluation.chance import chance_mip


def directions(seed, rows, dimension):
    return normalise_rows(np.random.default_rng(seed).standard_normal((rows, dimension)))


@given(seed=st.integers(0, 1000), n=st.integers(1, 8), m=st.integers(1, 12))
def test_the_best_match_is_the_largest_absolute_product(seed, n, m):
    true, learned = directions(seed, n, 5), directions(seed + 1, m, 5)
    match = best_match(learned, true)
    for i in range(n):
        products = [abs(sum(a * b for a, b in zip(true[i], row, strict=True))) for row in learned]
        assert match.similarity[i] == pytest.approx(max(products))
        assert products[match.latent[i]] == pytest.approx(max(products))


@given(seed=st.integers(0, 1000))
def test_order_sign_and_scale_of_learned_directions_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    true = directions(seed, 6, 9)
    learned = (true * rng.choice([-3, 0.1, 2], (6, 1)))[rng.permutation(6)]
    match = best_match(normalise_rows(learned), true)
    assert gt_recovery(match) == 1
    assert mip(match) == pytest.approx(1)
    assert hungarian(learned, true) == pytest.approx(1)


def test_recovery_is_the_share_above_tau():
    match = Match(np.array([0.89, 0.9, 0.91, 0.96]), np.zeros(4, dtype=int))
    assert gt_recovery(match) == 0.5
    assert gt_recovery(match, 0.95) == 0.25
    assert mip(match) == pytest.approx(0.915)


@given(seed=st.integers(0, 300))
def test_the_assignment_is_the_best_of_all(seed):
    true, learned = directions(seed, 3, 4), directions(seed + 1, 5, 4)
    cosines = np.abs(true @ learned.T)
    best = max(sum(cosines[i, j] for i, j in enumerate(columns)) for columns in itertools.permutations(range(5), 3))
    assert hungarian(learned, true) == pytest.approx(best / 3)
    assert hungarian(learned, true) <= mip(best_match(learned, true)) + 1e-9


@given(seed=st.integers(0, 50))
def test_one_to_one_matching_has_distinct_latents_and_the_hungarian_mean(seed):
    rng = np.random.default_rng(seed)
    learned, true = rng.standard_normal((7, 4)), normalise_rows(rng.standard_normal((5, 4)))
    match = one_to_one(learned, true)
    assert len(set(match.latent)) == 5
    cosines = np.abs(true @ normalise_rows(learned).T)
    np.testing.assert_allclose(match.similarity, cosines[np.arange(5), match.latent])
    assert match.similarity.mean() == pytest.approx(hungarian(learned, true))


def test_features_without_a_latent_count_as_zero():
    assert hungarian(np.eye(4)[:1], np.eye(4)) == 0.25


@pytest.mark.parametrize(("m", "dimension"), [(50, 4), (2048, 96), (16_000, 768)])
def test_simulated_chance_agrees_with_the_closed_form(m, dimension):
    match = simulated_chance(m, directions(0, 400, dimension), stream(0, "chance"))
    error = 4 * match.similarity.std() / np.sqrt(400)
    # all true directions share one draw of latents, so the mean's error is larger than for independent ones
    assert mip(match) == pytest.approx(chance_mip(m, dimension), abs=2 * error)
    for tau in (0.3, 0.9):
        p = chance_recovery(m, dimension, tau)
        assert gt_recovery(match, tau) == pytest.approx(p, abs=8 * np.sqrt(p * (1 - p) / 400) + 1e-9)


@pytest.mark.parametrize("scale", [2.0**100, 2.0**-100])
def test_rows_of_any_size_become_unit_rows(scale):
    W = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    W[2] = 0
    # scaling by a power of two is exact
    assert np.array_equal(normalise_rows(W * np.float32(scale)), normalise_rows(W))
    assert np.array_equal(normalise_rows(W), W / np.where(np.arange(5) == 2, 1, np.linalg.norm(W, axis=1))[:, None])
