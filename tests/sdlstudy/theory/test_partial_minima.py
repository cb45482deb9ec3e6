import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlstudy.theory.approximate_loss import approximate_loss, autoencoder, codes
from sdlstudy.theory.landscape import alternate, gradient_norm, pattern, unit_columns
from sdlstudy.theory.partial_minima import (
    group_points,
    groups_to_pattern,
    partial_minimum,
    search_points,
)

seeds = st.integers(0, 10_000)


@given(seeds, st.integers(2, 5))
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


# each case solves six linear programs
@settings(max_examples=20)
@given(seeds, st.integers(2, 5), st.sampled_from([0.0, 0.3]))
def test_the_point_has_no_gradient_the_pattern_and_the_loss_of_the_eigenvalue(seed, members, threshold):
    rng = stream(seed, "point")
    problem = autoencoder(unit_columns(8, 6, rng), rng.uniform(0.2, 2, 6), threshold)
    groups = [list(range(members)), *([d] for d in range(members, 6)), *([] for _ in range(members - 1))]
    minimum = partial_minimum(groups, problem)
    points = group_points(problem.W_r[:, :members], problem.M[:members])
    assert (minimum is None) == (not points)
    assume(minimum is not None)
    weights, local = minimum
    # the decoder's gradient grows with activations, which a threshold makes large if they differ much
    assert gradient_norm(weights, problem) < 1e-9 * max(1, codes(weights.W_enc, problem).max())
    np.testing.assert_array_equal(pattern(weights.W_enc, problem), groups_to_pattern(groups, 6))
    expected = problem.M[:members].sum() - points[0].eigenvalue
    assert approximate_loss(weights, problem) == pytest.approx(expected)
    assert expected > 0
    assert local == points[0].largest
    assert alternate(weights, problem, 3).losses[-1] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("seed", range(8))
def test_a_search_without_eigenvectors_agrees_on_whether_a_point_exists(seed):
    rng = stream(seed, "search")
    W, M = unit_columns(8, 3, rng), rng.uniform(0.2, 2, 3)
    nearest, points = search_points(W, M, rng, starts=10), group_points(W, M)
    if not points:
        assert nearest > 1e-5
    elif max(point.activations.max() / point.activations.min() for point in points) < np.exp(4):
        assert nearest < 1e-7
