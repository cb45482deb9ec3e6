import numpy as np
import scipy.sparse

from sdlcore.evaluation.metrics import TOP_SAMPLES
from sdlcore.evaluation.samples import sharing_metrics


def test_classes_that_share_the_top_samples_are_counted():
    labels = np.array([2, 2, 2, 0, 1, -1, 2])
    x = np.zeros((7, 3), dtype=np.float32)
    x[:, 0] = 1  # all samples, one of which has no class
    x[:3, 1] = 1  # a single class
    x[5, 2] = 1  # no labelled sample
    codes = scipy.sparse.csc_array(x)
    metrics = sharing_metrics(codes, labels, np.array([1, 0, 2]), np.array([True, False, False]), fewest=3)
    assert metrics == {
        "top_classes": 2,
        "top_purity": (4 / 6 + 1) / 2,
        "top_classes_anchored": 1,
        "top_purity_anchored": 1,
        "top_classes_unanchored": 3,
        "top_purity_unanchored": 4 / 6,
    }
    nothing = sharing_metrics(codes, labels, np.array([2]), np.array([True]), fewest=3)
    assert nothing["top_classes_anchored"] is None
    assert nothing["top_purity_unanchored"] is None


def test_only_the_largest_codes_count_and_of_equal_ones_the_earlier():
    values = np.ones(2 * TOP_SAMPLES, dtype=np.float32)
    values[-10:], labels = 2, np.repeat([0, 1], TOP_SAMPLES)
    metrics = sharing_metrics(scipy.sparse.csc_array(values[:, None]), labels, np.zeros(0, int), np.zeros(0, bool))
    assert metrics["top_classes"] == 2
    assert metrics["top_purity"] == 1 - 10 / TOP_SAMPLES
