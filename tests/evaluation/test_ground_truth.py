import numpy as np

from sdlcore.data.anchors import Anchors
from sdlcore.data.references import References
from sdlcore.evaluation.ground_truth import anchored_features, near_anchors

REFERENCES = References(np.eye(6, dtype=np.float32), np.eye(5, 6, dtype=np.float32) + 1e-3)


def anchors(*features, w_r=None, feature=None):
    sites = (np.eye(6, dtype=np.float32)[list(features)], *([] if w_r is None else [w_r]))
    return Anchors(*sites, feature=feature)


def test_anchored_features_are_those_near_an_anchor_at_either_site():
    w_p = np.array([[1, 0.1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]]) / [[1.01**0.5], [2**0.5]]
    between = Anchors(w_p.astype(np.float32))
    assert near_anchors(between, REFERENCES).tolist() == [True, False, False, False, False, False]
    assert anchored_features(between, REFERENCES).tolist() == [0]
    # an anchor and its opposite are one direction, as in the metric of recovery
    assert anchored_features(Anchors(-between.w_p), REFERENCES).tolist() == [0]
    # an anchor that was drawn matches only its own feature, even if another is near; other references ignore indices
    twins = References(np.eye(6, dtype=np.float32)[:, [0, 1, 0]])
    assert anchored_features(anchors(0, feature=np.array([2])), twins).tolist() == [2]
    assert anchored_features(anchors(0, feature=np.array([1])), twins).tolist() == [0, 2]
    assert anchored_features(anchors(1, feature=np.array([4])), twins).tolist() == [1]
    other_side = np.eye(5, dtype=np.float32)[[3]]
    assert anchored_features(anchors(0, w_r=other_side), REFERENCES).tolist() == [0, 3]
