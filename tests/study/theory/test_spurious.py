import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlcore.study.theory.biconvexity import curvature
from sdlcore.study.theory.landscape import (
    Weights,
    alternate,
    approximate_loss,
    autoencoder,
    codes,
    descend,
    gradient_norm,
    gradients,
    pattern,
    perturbed,
    unit_columns,
)
from sdlcore.study.theory.spurious import (
    example_3_5,
    expected_share,
    group_points,
    groups_to_pattern,
    paper_point,
    partial_minimum,
    random_groups,
    search_points,
    share_with_point,
)


def test_example_3_5_has_loss_1_and_no_gradient():
    problem, weights = example_3_5()
    assert approximate_loss(weights, problem) == 1
    assert gradient_norm(weights, problem) == 0
    assert alternate(weights, problem, 10).left_after is None


def test_example_3_5_traps_under_top_1_and_under_relu_only_with_a_latent_that_is_really_dead():
    rng = stream(0, "noise")
    ends = {}
    for name, dead, k in (("top-1", 0.0, 1), ("relu", 0.0, None), ("relu, dead", -0.5, None)):
        problem, (_, weights) = autoencoder(np.eye(2), k=k), example_3_5(dead)
        ends[name] = [approximate_loss(descend(perturbed(weights, rng), problem), problem) for _ in range(4)]
    assert ends["top-1"] == pytest.approx([1] * 4, abs=1e-3)
    assert ends["relu, dead"] == pytest.approx([1] * 4, abs=1e-3)
    assert min(ends["relu"]) < 1e-3


def test_theorem_3_7_s_construction_has_a_gradient_of_four_ninths_in_the_counterexample():
    problem = autoencoder(np.eye(2), np.array([2.0, 1.0]))
    weights = paper_point(np.array([[1.0, 1.0], [-1.0, -1.0]]), problem)
    np.testing.assert_allclose(gradients(weights, problem).W_enc[0], [-4 / 9, 4 / 9], atol=1e-12)
    np.testing.assert_allclose(gradients(weights, problem).W_dec, 0, atol=1e-12)
    assert group_points(problem.W_r, problem.M) == []


def test_no_decoder_and_encoder_of_the_counterexample_are_stationary():
    """Brute force: the decoder of eq. (76), and the encoder's direction over the whole quarter of the plane."""
    problem = autoencoder(np.eye(2), np.array([2.0, 1.0]))
    for angle in np.linspace(0.02, np.pi / 2 - 0.02, 200):
        weights = paper_point(np.array([[np.cos(angle), np.sin(angle)], [-1.0, -1.0]]), problem)
        assert np.abs(gradients(weights, problem).W_enc).max() > 0.01


def test_alternating_minimisation_from_there_tends_to_the_border_of_the_region_and_leaves_it_with_a_threshold():
    M = np.array([2.0, 1.0])
    start = np.array([[1.0, 1.0], [-1.0, -1.0]])
    search = alternate(paper_point(start, autoencoder(np.eye(2), M)), autoencoder(np.eye(2), M), 20)
    row = search.weights.W_enc[0]
    assert search.left_after is None
    assert row[1] / row[0] == pytest.approx(2.0**-20)
    assert search.losses[-1] == pytest.approx(1)
    with_threshold = autoencoder(np.eye(2), M, threshold=0.1)
    assert alternate(paper_point(start, with_threshold), with_threshold, 20).left_after is not None


groups_of = st.integers(2, 5)


@given(st.integers(0, 10_000), groups_of)
def test_points_of_a_group_are_eigenvectors_with_positive_products(seed, members):
    rng = stream(seed, "group")
    W, M = unit_columns(8, members, rng), rng.uniform(0.2, 2, members)
    for point in group_points(W, M):
        G = (W * M) @ W.T
        np.testing.assert_allclose(G @ point.column, point.eigenvalue * point.column, atol=1e-9)
        np.testing.assert_allclose(point.column @ W, point.activations, atol=1e-9)
        assert (point.activations > 0).all()
        assert np.linalg.norm(point.column) == pytest.approx(1)
        assert point.largest == (point.eigenvalue > np.linalg.eigvalsh(G)[-1] - 1e-9)


@given(st.integers(0, 10_000), groups_of, st.sampled_from([0.0, 0.3]))
def test_theorem_3_7_repaired_the_point_has_no_gradient_the_pattern_and_a_loss(seed, members, threshold):
    rng = stream(seed, "point")
    problem = autoencoder(unit_columns(8, 6, rng), rng.uniform(0.2, 2, 6), threshold)
    groups = [list(range(members)), *([d] for d in range(members, 6)), *([] for _ in range(members - 1))]
    found = partial_minimum(groups, problem)
    points = group_points(problem.W_r[:, :members], problem.M[:members])
    assert (found is None) == (not points)
    assume(found is not None)
    weights, local = found
    # the decoder's gradient grows with activations, which a threshold makes large where they differ much
    assert gradient_norm(weights, problem) < 1e-9 * max(1, codes(weights.W_enc, problem).max())
    np.testing.assert_array_equal(pattern(weights.W_enc, problem), groups_to_pattern(groups, 6))
    expected = problem.M[:members].sum() - points[0].eigenvalue
    assert approximate_loss(weights, problem) == pytest.approx(expected)
    assert expected > 0
    assert local == points[0].largest
    assert alternate(weights, problem, 3).losses[-1] == pytest.approx(expected, abs=1e-7)


def pair(product):
    """Two features with an inner product, and a latent for both beside a dead one."""
    W = np.array([[1.0, product], [0.0, np.sqrt(1 - product**2)]])
    return autoencoder(W), [[0, 1], []]


@pytest.mark.parametrize(("product", "local"), [(0.4, True), (-0.4, False)])
def test_of_two_features_there_is_always_a_point_and_it_traps_if_they_are_positively_correlated(product, local):
    problem, groups = pair(product)
    weights, minimum = partial_minimum(groups, problem)
    assert minimum == local
    loss = approximate_loss(weights, problem)
    assert loss == pytest.approx(1 - product)
    end = approximate_loss(descend(perturbed(weights, stream(0, "noise")), problem, 4000), problem)
    if local:
        assert end == pytest.approx(loss, abs=1e-4)
    else:
        assert end < loss - 0.1


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_members_that_are_all_positively_correlated_have_a_local_minimum(seed, members):
    rng = stream(seed, "positive")
    W = np.abs(rng.standard_normal((members + 1, members)))
    points = group_points(W / np.linalg.norm(W, axis=0), rng.uniform(0.2, 2, members))
    assert len(points) == 1
    assert points[0].largest


@pytest.mark.parametrize("members", [2, 3, 4, 6])
def test_random_groups_have_a_point_as_often_as_equal_signs_are(members):
    some, local = share_with_point(members, 64, 600, stream(0, "share"))
    assert some == pytest.approx(expected_share(members), abs=0.06)
    assert local == pytest.approx(expected_share(members, largest=True), abs=0.06)
    if members == 2:
        assert some == 1


def test_equal_target_features_are_no_loss_for_a_latent_of_both():
    problem, groups = pair(0.4)
    same = type(problem)(problem.W_p, np.ones((1, 2)), problem.M)
    weights = Weights(partial_minimum(groups, problem)[0].W_enc, np.ones((2, 1)))
    assert approximate_loss(paper_point(weights.W_enc, same), same) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_a_search_that_knows_no_eigenvectors_finds_no_point_where_there_is_none(seed):
    rng = stream(seed, "search")
    W, M = unit_columns(8, 3, rng), rng.uniform(0.2, 2, 3)
    nearest, points = search_points(W, M, rng, starts=10), group_points(W, M)
    if not points:
        assert nearest > 1e-5
    elif max(point.activations.max() / point.activations.min() for point in points) < np.exp(4):
        assert nearest < 1e-7


@given(st.integers(0, 10_000))
def test_what_the_search_minimises_is_the_encoder_s_gradient(seed):
    rng = stream(seed, "gradient")
    problem = autoencoder(unit_columns(5, 3, rng), rng.uniform(0.2, 2, 3))
    a = rng.uniform(0.5, 2, 3)
    row = a @ np.linalg.pinv(problem.W_p)
    weights = paper_point(row[None], problem)
    v = weights.W_dec[0]
    inner = -2 * problem.M * (v @ problem.W_r - v @ v * a)
    np.testing.assert_allclose(gradients(weights, problem).W_enc[0], problem.W_p @ inner, atol=1e-9)


def test_a_saddle_has_a_negative_eigenvalue_and_a_trap_has_none():
    for product, local in ((0.4, True), (-0.4, False)):
        problem, groups = pair(product)
        weights, _ = partial_minimum(groups, problem)
        assert (curvature(weights, problem).least_joint > -1e-9) == local


@given(st.integers(0, 1000))
def test_random_groups_are_a_partition_with_a_polysemantic_latent(seed):
    groups = random_groups(5, 5, stream(seed, "groups"))
    assert sorted(d for members in groups for d in members) == list(range(5))
    assert max(map(len, groups)) > 1


@given(st.floats(0.01, 100))
def test_the_loss_of_the_counterexample_s_rows_falls_towards_the_border(ratio):
    problem = autoencoder(np.eye(2), np.array([2.0, 1.0]))

    def profiled(r):
        return approximate_loss(paper_point(np.array([[1.0, r]]), problem), problem)

    assert profiled(ratio) == pytest.approx(3 - (4 + ratio**2) / (2 + ratio**2))
    assert profiled(0.99 * ratio) < profiled(ratio)
