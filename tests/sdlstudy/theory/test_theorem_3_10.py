"""Example 3.8 and Theorem 3.10."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlstudy.theory.approximate_loss import approximate_loss, autoencoder
from sdlstudy.theory.example_3_8 import ABSORBED, WHOLE, dogs
from sdlstudy.theory.landscape import descend, gradient_norm, pattern, perturbed, unit_columns
from sdlstudy.theory.partial_minima import groups_to_pattern, partial_minimum
from sdlstudy.theory.theorem_3_10 import (
    FOUR,
    TWO_PARENTS,
    draw,
    paper_absorption,
    repaired_absorption,
    separable,
    separating_row,
    wrong_entries,
)

seeds = st.integers(0, 10_000)


# each case solves two problems, which takes half a second
@settings(max_examples=3)
@given(seeds)
def test_example_3_8_training_is_stuck_in_the_absorbed_pattern_which_loses_less_than_the_ideal(seed):
    problem = dogs(stream(seed, "dogs"))
    (stuck, local), (whole, _) = (partial_minimum(groups, problem) for groups in (ABSORBED, WHOLE))
    assert local
    assert gradient_norm(stuck, problem) < 1e-9
    expected = groups_to_pattern(ABSORBED, 7)
    np.testing.assert_array_equal(pattern(stuck.W_enc, problem), expected)
    assert 0 < approximate_loss(stuck, problem) < approximate_loss(whole, problem)
    end = descend(perturbed(stuck, stream(seed, "noise")), problem)
    np.testing.assert_array_equal(pattern(end.W_enc, problem), expected)
    assert approximate_loss(end, problem) == pytest.approx(approximate_loss(stuck, problem), abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_repaired_one_member_is_separated_and_nothing_else_changes(seed):
    rng = stream(seed, "grouped")
    for problem, W_enc, latent in draw(rng, 10):
        construction = repaired_absorption(W_enc, problem, latent, rng)
        assert pattern(W_enc, problem)[latent, construction.absorbed]
        assert construction.threshold == problem.threshold
        assert not wrong_entries(construction, W_enc, problem, latent).any()


@pytest.mark.parametrize(
    ("rows", "papers"),
    [
        # the raised threshold silences the weak child of another parent
        ([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 1.5, 5.0]], [[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]),
        # both weakest members are lost
        ([[3.0, 3.0, 4.0, 0.0], [0.0, 0.0, 0.0, 5.0]], [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]),
    ],
)
def test_the_papers_construction_loses_members_and_the_repaired_one_only_the_absorbed(rows, papers):
    problem, W_enc = autoencoder(np.eye(4), threshold=1.0), np.array(rows)
    construction = paper_absorption(W_enc, problem, 0)
    assert construction.threshold == pytest.approx(2, abs=0.01)
    after = pattern(construction.W_enc, autoencoder(np.eye(4), threshold=construction.threshold))
    assert after.astype(int).tolist() == papers
    assert wrong_entries(construction, W_enc, problem, 0).any()
    repaired = repaired_absorption(W_enc, problem, 0, stream(0, "turn"))
    assert not wrong_entries(repaired, W_enc, problem, 0).any()


def test_without_a_threshold_a_group_of_two_cannot_be_separated():
    assert separating_row(FOUR, [0, 1]) is not None
    assert separable(FOUR, [0, 1]) == [False, False]
    # a row that one of them activates alone would also activate the other, or a feature outside the group
    for d, other, outside in ((0, 1, 3), (1, 0, 2)):
        assert (np.linalg.solve(FOUR[:, [other, outside]], FOUR[:, d]) > 0).all()
    assert [separating_row(FOUR, [d], 0.1) is not None for d in (0, 1)] == [True, True]


def test_of_two_parents_under_relu_no_child_can_be_separated():
    rows = np.array([[1.0, 0.0], [-1.0, 0.0]])
    expected = groups_to_pattern([[0, 1, 2], [3, 4, 5]], 6)
    np.testing.assert_array_equal(pattern(rows, autoencoder(TWO_PARENTS)), expected)
    assert [separating_row(TWO_PARENTS, [child]) for child in range(6)] == [None] * 6
    assert all(separating_row(TWO_PARENTS, [child], 0.1) is not None for child in range(6))


@settings(max_examples=25)
@given(seeds)
def test_a_separating_row_separates(seed):
    rng = stream(seed, "separating")
    W = unit_columns(3, 5, rng)
    members = sorted(rng.choice(5, 2, replace=False).tolist())
    row = separating_row(W, members, 0.2)
    if row is not None:
        assert np.flatnonzero(row @ W > 0.2 + 1e-8).tolist() == members


@settings(max_examples=20)
@given(seeds)
def test_the_absorbing_pattern_never_loses_more_than_the_one_it_came_from(seed):
    rng = stream(seed, "groups")
    W = np.abs(rng.standard_normal((8, 5)))
    problem = autoencoder(W / np.linalg.norm(W, axis=0), rng.uniform(0.2, 2, 5), 0.1)
    before, after = (partial_minimum(groups, problem) for groups in ([[0, 1, 2, 3], [4]], [[1, 2, 3], [4], [0]]))
    assert approximate_loss(after[0], problem) < approximate_loss(before[0], problem)
