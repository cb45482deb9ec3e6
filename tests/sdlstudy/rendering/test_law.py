import numpy as np
import pandas as pd
import pytest

from sdlstudy.rendering.law import COLUMNS, CURVES, EXACT, figure_law, law_sentences
from sdlstudy.theory.reading import Read


@pytest.fixture
def rows() -> pd.DataFrame:
    points = [
        ("n", 100.0, EXACT, 0, 0.5, 0.51, 0.7),
        ("n", 100.0, "acs", 0, 0.5, 0.49, 1.0),
        ("n", 100.0, "acs", 1, 0.5, 0.48, 1.0),
        ("n", 200.0, "acs", 0, 0.7, 0.69, 1.0),
        ("noise", 2.0, "acs", 0, 0.9, np.nan, np.nan),
    ]
    return pd.DataFrame(
        [
            (*where, law, cosine - law, *Read(cosine, gain, gain, 1.0, cosine, gain, 0.0, 1.0, 1.0))
            for *where, law, cosine, gain in points
        ],
        columns=[*COLUMNS, *Read._fields],
    )


def test_lines_are_the_law_and_points_are_read_outs_and_runs(rows):
    curves = pd.DataFrame([("n", 100, 0.5, 0.9, 1), ("n", 200, 0.7, 0.5, 1), ("noise", 0, 0.5, 0.9, 1)], columns=CURVES)
    figure = figure_law(rows, curves)
    cosine, gain, noise = figure.axes
    assert cosine.lines[0].get_ydata() == pytest.approx([0.5, 0.7])
    assert gain.lines[0].get_ydata() == pytest.approx([0.9, 0.5])
    points = [line for line in cosine.lines if line.get_marker() == "o"]
    assert sorted(np.concatenate([line.get_ydata() for line in points])) == pytest.approx([0.48, 0.49, 0.69])
    # dictionaries that recovered no feature are marked at the bottom
    assert any(list(line.get_ydata()) == [0.0] for line in noise.lines)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["law", "law, fitted where the feature is active", "ACS", "least squares, true features"]


def test_sentences_say_how_far_each_is_from_the_law(rows):
    assert list(law_sentences(rows)) == [
        "The least-squares read-out, over n: cosine minus law is +0.010 to +0.010 (1 points).",
        "ACS, over n: cosine minus law is -0.020 to -0.010 (3 points).",
        "ACS, over noise: no feature was found.",
    ]
