"""The certificates of Appendix F."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlstudy.theory.appendix_f import realise
from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, certify_top_1
from sdlstudy.theory.landscape import descend, pattern, unit_columns, with_best_decoder
from sdlstudy.theory.partial_minima import group_points

seeds = st.integers(0, 10_000)


def problem_of(seed, n, n_r, **settings):
    rng = stream(seed, "problem")
    return Problem(unit_columns(n + 1, n, rng), unit_columns(n_r, n, rng), rng.uniform(0.2, 2, n), **settings), rng


def brute_force(problem, n_q):
    """Return the least loss over all assignments of features to latents or none, by enumeration."""
    whole = problem.M @ np.square(problem.W_r).sum(axis=0)
    best = whole
    for labels in itertools.product(range(-1, n_q), repeat=problem.n):
        gained = 0.0
        for i in range(n_q):
            members = [d for d, label in enumerate(labels) if label == i]
            points = group_points(problem.W_r[:, members], problem.M[members]) if members else []
            gained += max((point.eigenvalue for point in points), default=0.0)
        best = min(best, whole - gained)
    return best


@settings(max_examples=10)
@given(seeds, st.integers(1, 3))
def test_top_1_the_search_finds_what_trying_every_pattern_finds(seed, n_q):
    problem, _ = problem_of(seed, 4, 4, k=1)
    certificate = certify_top_1(problem, n_q)
    assert certificate.gap < 1e-8
    assert certificate.upper == pytest.approx(brute_force(problem, n_q), abs=1e-9)
    weights = realise(certificate, problem)
    assert approximate_loss(weights, problem) == pytest.approx(certificate.upper, abs=1e-9)
    assert (pattern(weights.W_enc, problem).sum(axis=0) <= 1).all()


@settings(max_examples=10)
@given(seeds)
@example(1177)  # its descent leaves the range of floating-point numbers with steps of the usual size
def test_top_1_no_dictionary_is_below_the_bound(seed):
    problem, rng = problem_of(seed, 6, 3, k=1)
    lower = certify_top_1(problem, 2).lower
    for _ in range(20):
        weights = with_best_decoder(rng.standard_normal((2, 7)), problem)
        assert approximate_loss(weights, problem) >= lower - 1e-9
    start = Weights(rng.standard_normal((2, 7)), rng.standard_normal((2, 3)))
    assert approximate_loss(descend(start, problem, 500, lr=0.01), problem) >= lower - 1e-9
