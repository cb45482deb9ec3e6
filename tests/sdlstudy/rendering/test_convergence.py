"""Loss and recovery of dictionaries over seconds, from their histories."""

import numpy as np
import pandas as pd
import pytest

from sdlstudy.rendering.convergence import Course, convergence_sentence, course, figure_convergence, seconds_to_recovery


def history(decoder: list[float], **more: list[float]) -> pd.DataFrame:
    steps = range(1, len(decoder) + 1)
    frame = pd.DataFrame({"step": [10 * s for s in steps], "seconds": [2.0 * s for s in steps], "lr": 0.1})
    return frame.assign(fvu=[1 / s for s in steps], gt_recovery_decoder=decoder, **more)


@pytest.fixture
def rows() -> pd.DataFrame:
    runs = [
        Course("topk", "best", 0, history([0.1, 0.98, 1.0], gt_recovery_encoder=[0.1, 0.2, 0.3])),
        Course("topk", "best", 1, history([0.1, 0.5, 0.9], gt_recovery_encoder=[0.1, 0.2, 0.3])),
        Course("topk", "paper", 0, history([0.0, 0.0], gt_recovery_encoder=[0.0, 0.0])),
        Course("acs", None, 0, history([0.5, 0.995])),
    ]
    return course(runs)


def test_seconds_are_those_of_the_first_row_or_none(rows):
    assert seconds_to_recovery(rows) == {("topk", "best"): [6.0, None], ("topk", "paper"): [None], ("acs", None): [4.0]}
    sentence = convergence_sentence(rows)
    assert "TopK SAE (best) 6 s in 1 of 2 seeds; TopK SAE (paper) never; ACS 4 s" in sentence


def test_a_solver_stands_beside_every_protocol(rows):
    figure = figure_convergence(rows)
    best, paper = np.reshape(figure.axes, (2, 3))
    assert [axes.get_title(loc="left") for axes in (best[0], paper[0])] == ["protocol best", "protocol paper"]
    for panels, runs in ((best, 3), (paper, 2)):
        drawn = panels[1].lines
        assert len(drawn) == runs
        np.testing.assert_array_equal(drawn[-1].get_ydata(), [0.5, 0.995])
        assert drawn[-1].get_linestyle() == "--"
        assert np.isnan(panels[2].lines[-1].get_ydata()).all()
