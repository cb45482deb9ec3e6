import numpy as np

from sdlcore import Anchors, References
from sdlstudy.results.discovered import recovery_over, unanchored_features

REFERENCES = References(np.eye(6, dtype=np.float32), None, None)


def anchors(*features):
    return Anchors(np.eye(6, dtype=np.float32)[list(features)], None, None)


def test_anchorings_are_compared_on_what_none_of_them_gives_away():
    unanchored = unanchored_features(
        {"a": anchors(0, 1), "b": anchors(1, 2), "all": anchors(0, 1, 2, 3, 4)}, REFERENCES, ["all"]
    )
    assert (
        unanchored["none"].tolist() == unanchored["a"].tolist() == unanchored["b"].tolist() == [False] * 3 + [True] * 3
    )
    assert unanchored["all"].tolist() == [False] * 5 + [True]
    assert unanchored_features({}, REFERENCES)["none"].all()


def test_recovery_is_over_unanchored_features_and_nan_without_any():
    cosines = np.array([0.0, 0, 0, 0, 0, 1]), np.array([1.0, 1, 1, 1, 0, 0])
    unanchored = np.array([False, False, True, True, True, True])
    assert recovery_over(unanchored, *cosines) == {
        "gt_recovery_encoder": 0.25,
        "mip_encoder": 0.25,
        "gt_recovery_decoder": 0.5,
        "mip_decoder": 0.5,
    }
    assert all(np.isnan(value) for value in recovery_over(~unanchored & unanchored, *cosines).values())
