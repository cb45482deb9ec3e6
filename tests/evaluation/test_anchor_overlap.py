import numpy as np

from sdlcore.data.anchors import Anchors
from sdlcore.data.references import References
from sdlcore.evaluation.anchor_overlap import best_cosines, given_away, left_over, lie_near, recovery_of
from tests.coders import coder

REFERENCES = References(np.eye(6, dtype=np.float32), np.eye(5, 6, dtype=np.float32) + 1e-3, None)


def anchors(*features, w_r=None, feature=None):
    return Anchors(np.eye(6, dtype=np.float32)[list(features)], w_r, feature)


def test_given_away_is_what_anchors_are_or_else_lie_near_in_either_representation():
    w_p = np.array([[1, 0.1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]]) / [[1.01**0.5], [2**0.5]]
    between = Anchors(w_p.astype(np.float32), None, None)
    assert lie_near(between, REFERENCES).tolist() == [True, False, False, False, False, False]
    assert given_away(between, REFERENCES).tolist() == [0]
    # an anchor and its opposite are one direction, as in the metric of recovery
    assert given_away(Anchors(-between.w_p, None, None), REFERENCES).tolist() == [0]
    # one that was drawn is that one, though another lies near; of other references, numbers mean nothing
    twins = References(np.eye(6, dtype=np.float32)[:, [0, 1, 0]])
    assert given_away(anchors(0, feature=np.array([2])), twins).tolist() == [2]
    assert given_away(anchors(0, feature=np.array([1])), twins).tolist() == [0, 2]
    assert given_away(anchors(1, feature=np.array([4])), twins).tolist() == [1]
    other_side = np.eye(5, dtype=np.float32)[[3]]
    assert given_away(anchors(0, w_r=other_side), REFERENCES).tolist() == [0, 3]


def test_anchorings_are_compared_on_what_none_of_them_gives_away():
    left = left_over({"a": anchors(0, 1), "b": anchors(1, 2), "all": anchors(0, 1, 2, 3, 4)}, REFERENCES, ["all"])
    assert left["none"].tolist() == left["a"].tolist() == left["b"].tolist() == [False] * 3 + [True] * 3
    assert left["all"].tolist() == [False] * 5 + [True]
    assert left_over({}, REFERENCES)["none"].all()


def test_recovery_is_over_what_is_left_and_of_nothing_there_is_none():
    model = coder(3 * np.eye(6)[[5] * 6], np.eye(6)[[0, 1, 2, 3, 3, 3]])
    best = best_cosines(model, REFERENCES._replace(W_r=None))
    left = np.array([False, False, True, True, True, True])
    metrics = recovery_of(best, left)
    assert metrics == {
        "gt_recovery_encoder": 0.25,
        "mip_encoder": 0.25,
        "gt_recovery_decoder": 0.5,
        "mip_decoder": 0.5,
    }
    assert all(np.isnan(value) for value in recovery_of(best, ~left & left).values())
