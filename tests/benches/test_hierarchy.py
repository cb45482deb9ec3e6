import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.benches.config import Hierarchy
from sdlcore.benches.lrb import coefficients
from sdlcore.random_streams import stream

hierarchies = st.builds(Hierarchy, parents=st.integers(1, 4), children=st.integers(1, 5))


def active(hierarchy, seed, sparsity, n, n_samples=200):
    return coefficients(n_samples, n, sparsity, stream(seed), 0.1, hierarchy=hierarchy).toarray() > 0


@settings(max_examples=40)
@given(hierarchy=hierarchies, others=st.integers(0, 6), seed=st.integers(0, 1000), sparsity=st.floats(0, 0.99))
def test_a_parent_is_active_iff_a_child_of_it_is_and_nothing_else_changes(hierarchy, others, seed, sparsity):
    n = hierarchy.size + others
    with_, without = (active(h, seed, sparsity, n) for h in (hierarchy, None))
    for parent in range(hierarchy.parents):
        assert (with_[:, parent] == with_[:, list(hierarchy.family(parent))].any(axis=1)).all()
    assert (with_[:, hierarchy.parents :] == without[:, hierarchy.parents :]).all()


def test_a_parents_magnitude_does_not_depend_on_its_children():
    hierarchy = Hierarchy(2, 3)
    x = coefficients(20_000, 8, 0.9, stream(2), c_min=1.0, beta=0.5, hierarchy=hierarchy).toarray()
    for parent in range(2):
        on = x[:, parent] > 0
        assert x[on, parent].mean() == pytest.approx(1.5, abs=0.03)
        total = x[on][:, list(hierarchy.family(parent))].sum(axis=1)
        assert abs(np.corrcoef(x[on, parent], total)[0, 1]) < 0.05


def test_without_a_hierarchy_the_bench_is_what_it_was():
    x = coefficients(300, 12, 0.8, stream(7, "samples", "train"), 0.1, 2.0)
    content = hashlib.sha256(x.toarray().tobytes()).hexdigest()
    assert content == "d0352973848cd9a24797b13641ec154aee541e952acecf85601e4f94f615f719"
