"""Absorption of constructed dictionaries with known absorption."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.benches.config import BenchSamples, Hierarchy
from sdlcore.benches.lrb import coefficients
from sdlcore.evaluation.absorption import Absorption
from sdlcore.random_streams import stream

HIERARCHY = Hierarchy(3, 4)
N, N_R = 18, 24
PAIRS = [(parent, child) for parent in range(HIERARCHY.parents) for child in HIERARCHY.family(parent)]


def truth(seed=0, sparsity=0.95):
    """Orthonormal features, and samples of them."""
    W = np.linalg.qr(stream(seed, "W").standard_normal((N_R, N)))[0]
    samples = BenchSamples(sparsity=sparsity, c_min=1.0, beta=0.25, hierarchy=HIERARCHY)
    return W, coefficients(3000, N, samples, stream(seed, "x"))


def absorbing(x, W, pairs):
    """Return latents and decoder of a dictionary whose latents for these children point along child plus parent."""
    latents, decoder = x.toarray().astype(float), W.T.copy()
    for parent, child in pairs:
        decoder[child] += W[:, parent]
        latents[latents[:, child] > 0, parent] = 0
    return latents, decoder


def score(latents, x, decoder, W):
    """Return the score of a dictionary whose latents are in another order, in two blocks."""
    order = stream(4).permutation(N)
    absorption = Absorption(decoder[order], W.T)
    for rows in (slice(0, 1000), slice(1000, None)):
        absorption.add(scipy.sparse.csr_array(latents[rows][:, order]))
    return absorption.score(x, HIERARCHY)


@given(chosen=st.sets(st.sampled_from(PAIRS)))
def test_just_the_pairs_whose_child_carries_its_parent_are_absorbed(chosen):
    W, x = truth()
    latents, decoder = absorbing(x, W, chosen)
    assert score(latents, x, decoder, W) == pytest.approx(len(chosen) / len(PAIRS))


def test_verdicts_are_by_sums_over_the_samples_with_that_child_alone():
    """Compare with the definition, evaluated sample by sample."""
    W, x = truth(sparsity=0.8)
    latents, decoder = absorbing(x, W, PAIRS[:5])
    latents *= stream(3).random(latents.shape)
    absorbed = []
    for parent, child in PAIRS:
        own = carried = total = 0.0
        for z, true in zip(latents, x.toarray(), strict=True):
            if [other for other in HIERARCHY.family(parent) if true[other] > 0] == [child]:
                total += true[parent]
                own += z[parent] * decoder[parent] @ W[:, parent]
                carried += z[child] * decoder[child] @ W[:, parent]
        absorbed.append(own / total < 0.5 <= carried / total)
    assert 0 < sum(absorbed) < len(PAIRS)
    assert score(latents, x, decoder, W) == pytest.approx(np.mean(absorbed))


def test_a_parent_that_nothing_stands_in_for_is_not_absorbed():
    W, x = truth()
    latents = x.toarray()
    latents[:, 0] = 0
    assert score(latents, x, W.T, W) == 0


def test_scaling_a_latent_against_its_decoder_column_changes_nothing():
    W, x = truth()
    latents, decoder = absorbing(x, W, PAIRS[::2])
    scale = stream(5).uniform(0.1, 10, N)
    assert score(latents * scale, x, decoder / scale[:, None], W) == score(latents, x, decoder, W) == 0.5


def test_children_that_are_never_alone_say_nothing():
    W, x = truth()
    latents, decoder = absorbing(x, W, PAIRS[:1])
    together = x.toarray()
    together[together[:, 3] > 0, 4] = 1.0
    assert score(latents, scipy.sparse.csr_array(together), decoder, W) == 0
    together[:, 3 : 3 + 12] = 1.0
    assert score(latents, scipy.sparse.csr_array(together), decoder, W) is None
