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


@pytest.fixture(scope="module")
def sae():
    x = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    settings = {"activation": "topk", "k": 3, "n_q": 12, "batch_size": 50, "steps": 20, "log_every": 5}
    return sdl.fit(x, progress=False, device="cpu", **settings), x


def test_recovery_falls_over_the_threshold_and_says_the_level_of_chance():
    ax = sdl.plot.recovery(SCORES)
    lines = {line.get_label(): line for line in ax.lines}
    taus, shares = lines["decoder"].get_data()
    assert shares[np.searchsorted(taus, 0.9)] == 0.75
    assert (np.diff(shares) <= 0).all()
    assert sorted(line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":") == [0.3, 0.35]


def test_features_are_dots_on_the_axes_of_the_caller_and_anchored_ones_have_a_colour():
    ax = Figure().subplots()
    assert sdl.plot.features(SCORES, ax=ax) is ax
    assert sorted(len(dots.get_offsets()) for dots in ax.collections) == [1, 3]


def test_a_history_is_drawn_over_its_steps(sae):
    ax = sdl.plot.loss(sae[0], "fvu")
    assert list(ax.lines[0].get_xdata()) == [5, 10, 15, 20]
    assert ax.get_ylabel() == "fvu"
    both = sdl.plot.loss({"a": sae[0], "b": sae[0]})
    assert len(both.lines) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda plot, d, x: plot.recovery(Scores({})), "no ground truth"),
        (lambda plot, d, x: plot.loss(d, "mip"), "the history has no column mip"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message, sae):
    with pytest.raises(ValueError, match=message):
        call(sdl.plot, *sae)
