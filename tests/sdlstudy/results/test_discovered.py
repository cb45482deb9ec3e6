import numpy as np

from sdlcore import Anchors, References
from sdlstudy.results.discovered import recovery_over, unanchored_features

REFERENCES = References(np.eye(6, dtype=np.float32), None, None)


def anchors(*features):
    return Anchors(np.eye(6, dtype=np.float32)[list(features)], None, None)


def test_anchorings_are_compared_on_what_none_of_them_gives_away():
    left = unanchored_features(
        {"a": anchors(0, 1), "b": anchors(1, 2), "all": anchors(0, 1, 2, 3, 4)}, REFERENCES, ["all"]
    )
    assert left["none"].tolist() == left["a"].tolist() == left["b"].tolist() == [False] * 3 + [True] * 3
    assert left["all"].tolist() == [False] * 5 + [True]
    assert unanchored_features({}, REFERENCES)["none"].all()


def test_recovery_is_over_what_is_left_and_of_nothing_there_is_none():
    cosines = np.array([0.0, 0, 0, 0, 0, 1]), np.array([1.0, 1, 1, 1, 0, 0])
    left = np.array([False, False, True, True, True, True])
    assert recovery_over(left, *cosines) == {
        "gt_recovery_encoder": 0.25,
        "mip_encoder": 0.25,
        "gt_recovery_decoder": 0.5,
        "mip_decoder": 0.5,
    }
    assert all(np.isnan(value) for value in recovery_over(~left & left, *cosines).values())
