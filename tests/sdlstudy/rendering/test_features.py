"""A picture of single features shows the given numbers."""

import numpy as np
import pandas as pd
import pytest

from sdlstudy.rendering.features import FEATURE_COLUMNS, figure_features


@pytest.fixture
def features() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frames = []
    for method in ("topk", "mine"):
        frame = pd.DataFrame(rng.uniform(0, 1, (20, len(FEATURE_COLUMNS))), columns=FEATURE_COLUMNS)
        frames.append(frame.assign(method=method, feature=range(20), given=np.arange(20) < 5))
    return pd.concat(frames, ignore_index=True)


def test_every_feature_is_a_point_of_its_methods_panel(features):
    panels = figure_features(features).axes
    assert [axes.get_title() for axes in panels[:2]] == ["TopK SAE", "mine"]
    for axes, method in zip(panels[:2], ("topk", "mine"), strict=True):
        points = axes.lines[-1]
        rows = features[features["method"] == method]
        np.testing.assert_array_equal(points.get_xdata(), rows["decoder"])
        np.testing.assert_array_equal(points.get_ydata(), rows["encoder"])


def test_anchored_features_are_not_counted_as_moved(features):
    features.loc[~features["given"], "decoder_anchored"] = features["decoder"] - 0.25
    features.loc[~features["given"], "encoder_anchored"] = features["encoder"] + 0.125
    features.loc[features["given"], ["decoder_anchored", "encoder_anchored"]] = 1.0
    for axes in figure_features(features).axes[2:]:
        medians = next(part for part in axes.collections if len(part.get_paths()) == 2)
        heights = [path.vertices[:, 1].mean() for path in medians.get_paths()]
        np.testing.assert_allclose(heights, [0.125, -0.25])
