import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import sdlcore as sdl
from sdlcore.evaluation.score import Scores

matplotlib.use("agg")
FEATURES = {"encoder": [0.5, 0.95, 0.2, 0.7], "decoder": [0.92, 0.95, 0.91, 0.4], "anchored": [1]}
SCORES = Scores({}, {"mip_encoder": 0.3, "mip_decoder": 0.35}, FEATURES)


@pytest.fixture(autouse=True)
def closed():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def test_recovery_falls_over_the_threshold_and_says_the_level_of_chance():
    ax = sdl.plot.recovery(SCORES)
    lines = {line.get_label(): line for line in ax.lines}
    taus, shares = lines["decoder"].get_data()
    assert shares[np.searchsorted(taus, 0.9)] == 0.75
    assert (np.diff(shares) <= 0).all()
    assert sorted(line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":") == [0.3, 0.35]


def test_several_results_are_drawn_on_the_axes_of_the_caller_by_their_decoders():
    ax = Figure().subplots()
    assert sdl.plot.recovery({"a": SCORES, "b": SCORES}, ax=ax) is ax
    assert {"a", "b"} <= {line.get_label() for line in ax.lines}


def test_scores_without_ground_truth_are_refused():
    with pytest.raises(ValueError, match="no ground truth"):
        sdl.plot.recovery(Scores({}))
