import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlcore.study.theory.absorption import (
    absorbed_pattern,
    dog_groups,
    dogs,
    paper_absorption,
    repaired_absorption,
    separating_row,
    two_parents,
    without_threshold,
)
from sdlcore.study.theory.landscape import (
    approximate_loss,
    autoencoder,
    descend,
    gradient_norm,
    pattern,
    perturbed,
    unit_columns,
)
from sdlcore.study.theory.spurious import groups_to_pattern, partial_minimum


# each solves two problems, which takes half a second
@settings(max_examples=5)
@given(st.integers(0, 10_000))
def test_example_3_8_training_is_stuck_in_the_absorbed_pattern_which_loses_less_than_the_ideal(seed):
    problem = dogs(stream(seed, "dogs"))
    losses = {}
    for absorbed in (True, False):
        groups = dog_groups(absorbed)
        weights, local = partial_minimum(groups, problem)
        assert local
        assert gradient_norm(weights, problem) < 1e-9
        np.testing.assert_array_equal(pattern(weights.W_enc, problem), groups_to_pattern(groups, 7))
        losses[absorbed] = approximate_loss(weights, problem)
    assert 0 < losses[True] < losses[False]


def test_example_3_8_descent_from_nearby_comes_back():
    for seed in range(3):
        problem = dogs(stream(seed, "dogs"))
        weights, _ = partial_minimum(dog_groups(absorbed=True), problem)
        end = descend(perturbed(weights, stream(seed, "noise")), problem)
        np.testing.assert_array_equal(
            pattern(end.W_enc, problem), groups_to_pattern(dog_groups(absorbed=True), problem.n)
        )
        assert approximate_loss(end, problem) == pytest.approx(approximate_loss(weights, problem), abs=1e-3)


def grouped(seed, n=6, n_p=4, threshold=0.1):
    """Random features, an encoder of random rows, and a latent of it that at least two features activate."""
    rng = stream(seed, "grouped")
    while True:
        problem = autoencoder(unit_columns(n_p, n, rng), threshold=threshold)
        W_enc = rng.standard_normal((3, n_p))
        several = np.flatnonzero(pattern(W_enc, problem).sum(axis=1) >= 2)
        if len(several):
            return problem, W_enc, int(several[0])


@given(st.integers(0, 10_000))
def test_theorem_3_10_repaired_one_member_is_separated_and_nothing_else_changes(seed):
    problem, W_enc, latent = grouped(seed)
    found = repaired_absorption(W_enc, problem.W_p, latent, problem.threshold, stream(seed, "turn"))
    before = pattern(W_enc, problem)
    assert before[latent, found.absorbed]
    np.testing.assert_array_equal(pattern(found.W_enc, problem), absorbed_pattern(before, latent, found.absorbed))
    assert found.threshold == problem.threshold


def test_the_paper_s_construction_loses_a_weak_member_of_another_latent():
    W = np.eye(3)
    W_enc = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.2]])
    found = paper_absorption(W_enc, W, 0, threshold=0.1)
    after = pattern(found.W_enc, autoencoder(W, threshold=found.threshold))
    assert found.threshold > 0.55
    assert after.tolist() == [[False, True, False], [False, False, False], [True, False, False]]
    repaired = repaired_absorption(W_enc, W, 0, 0.1, stream(0, "turn"))
    kept = pattern(repaired.W_enc, autoencoder(W, threshold=0.1))
    assert kept.tolist() == [[False, True, False], [False, False, True], [True, False, False]]


def test_the_paper_s_construction_loses_both_of_two_weakest_members_and_the_repaired_one_only_one():
    W, W_enc = np.eye(3), np.array([[1.0, 1.0, 2.0]])
    after = pattern(paper_absorption(W_enc, W, 0, 0.1).W_enc, autoencoder(W, threshold=0.55))
    assert after[0].tolist() == [False, False, True]
    repaired = repaired_absorption(W_enc, W, 0, 0.1, stream(0, "turn"))
    assert pattern(repaired.W_enc, autoencoder(W, threshold=0.1))[0].sum() == 2


def test_without_a_threshold_a_group_of_two_cannot_be_separated():
    W, group = without_threshold()
    assert separating_row(W, group, 0.0) is not None
    assert [separating_row(W, [d], 0.0) for d in group] == [None, None]
    # why: what only one of them activates would be activated by a feature outside of the group, or by the other
    for d, other, outside in ((0, 1, 3), (1, 0, 2)):
        weights = np.linalg.solve(W[:, [other, outside]], W[:, d])
        assert (weights > 0).all()
    assert [separating_row(W, [d], 0.1) is not None for d in group] == [True, True]
    with pytest.raises(ValueError, match="threshold above zero"):
        repaired_absorption(np.eye(2), W, 0, 0.0, stream(0))


@given(st.integers(0, 10_000))
def test_a_separating_row_separates(seed):
    rng = stream(seed, "separating")
    W = unit_columns(3, 5, rng)
    members = sorted(rng.choice(5, 2, replace=False).tolist())
    row = separating_row(W, members, 0.2)
    if row is not None:
        assert np.flatnonzero(row @ W > 0.2 + 1e-8).tolist() == members


@given(st.integers(0, 10_000))
def test_the_absorbing_pattern_never_loses_more_than_the_one_it_came_from(seed):
    rng = stream(seed, "groups")
    W = np.abs(rng.standard_normal((8, 5)))
    problem = autoencoder(W / np.linalg.norm(W, axis=0), rng.uniform(0.2, 2, 5), 0.1)
    before, after = (partial_minimum(groups, problem) for groups in ([[0, 1, 2, 3], [4]], [[1, 2, 3], [4], [0]]))
    assert before is not None
    assert after is not None
    assert approximate_loss(after[0], problem) < approximate_loss(before[0], problem)


def test_of_a_group_of_two_the_absorbing_pattern_loses_nothing():
    problem = autoencoder(unit_columns(4, 2, stream(0, "W")))
    weights, _ = partial_minimum([[1], [0]], problem)
    assert approximate_loss(weights, problem) < 1e-20


def test_of_two_parents_under_relu_no_child_can_be_separated():
    W, groups, rows = two_parents()
    np.testing.assert_array_equal(pattern(rows, autoencoder(W)), groups_to_pattern(groups, 6))
    assert [separating_row(W, [child], 0.0) for child in range(6)] == [None] * 6
    assert all(separating_row(W, [child], 0.1) is not None for child in range(6))


def test_raising_the_threshold_loses_a_weak_child_of_another_parent():
    features, rows = np.eye(4), np.array([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 1.5, 5.0]])
    found = paper_absorption(rows, features, 0, threshold=1.0)
    assert found.threshold == pytest.approx(2, abs=0.01)
    assert pattern(found.W_enc, autoencoder(features, threshold=found.threshold))[1].tolist() == [False] * 3 + [True]
