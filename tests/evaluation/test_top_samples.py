import numpy as np
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.evaluation.samples import TopSamples, sharing_metrics


@given(
    seed=st.integers(0, 99),
    n=st.integers(1, 40),
    latents=st.integers(1, 5),
    top=st.integers(1, 8),
    size=st.integers(1, 9),
)
def test_batch_by_batch_they_are_those_of_the_whole(seed, n, latents, top, size):
    # few distinct values, so that ties occur
    x = np.random.default_rng(seed).integers(-1, 4, (n, latents)).astype(np.float32).clip(min=0)
    largest = TopSamples.none(latents, top)
    for start in range(0, n, size):
        largest = largest.with_batch(scipy.sparse.csr_array(x[start : start + size]), start)
    for latent in range(latents):
        order = np.argsort(-x[:, latent], kind="stable")
        expected = [i for i in order if x[i, latent] > 0][:top]
        assert list(largest.samples[latent][: len(expected)]) == expected
        assert (largest.samples[latent][len(expected) :] == -1).all()
        np.testing.assert_array_equal(largest.values[latent][: len(expected)], x[expected, latent])
        assert (largest.values[latent][len(expected) :] == 0).all()


def test_classes_that_share_the_top_samples_are_counted():
    labels = np.array([2, 2, 2, 0, 1, -1, 2])
    x = np.zeros((7, 3), dtype=np.float32)
    x[:, 0] = 1  # all samples, one of which has no class
    x[:3, 1] = 1  # a single class
    x[5, 2] = 1  # no labelled sample
    top = TopSamples.none(3, 7).with_batch(scipy.sparse.csr_array(x), 0)
    metrics = sharing_metrics(top, labels, np.array([1, 0, 2]), np.array([True, False, False]), fewest=3)
    assert metrics == {
        "top_classes": 2,
        "top_purity": (4 / 6 + 1) / 2,
        "top_classes_anchored": 1,
        "top_purity_anchored": 1,
        "top_classes_unanchored": 3,
        "top_purity_unanchored": 4 / 6,
    }
    nothing = sharing_metrics(top, labels, np.array([2]), np.array([True]), fewest=3)
    assert nothing["top_classes_anchored"] is None
    assert nothing["top_purity_unanchored"] is None
