"""Sentences generated from the numbers of figures."""

import numpy as np
import pandas as pd

from sdlstudy.rendering.sentences import figure6_sentences


def summary(with_loss, without_loss, resampled):
    seeds = range(len(with_loss))
    rows = [("without", s, without_loss[s], 0.2, 0.1, 0, 0, np.nan) for s in seeds]
    rows += [("with", s, with_loss[s], 0.2, 0.1, resampled[s], min(resampled[s], 1), np.nan) for s in seeds]
    columns = ["variant", "seed", "final_loss", "fvu", "dead_fraction", "resampled", "events", "note"]
    return pd.DataFrame(rows, columns=columns)


def test_sentences_say_what_the_numbers_say_and_no_more():
    clear = " ".join(figure6_sentences(summary([1.0, 1.1, 0.9], [3.0, 3.1, 2.95], [5, 5, 5])))
    assert "loss at the end (last tenth of the log) is 1 with resampling and 3.017 without" in clear
    assert "which excludes zero" in clear
    vague = figure6_sentences(summary([1.0, 3.0, 2.0], [2.0, 1.0, 2.0], [5, 0, 5]))
    assert "In seed 1 resampling never fired." in vague
    assert "no difference shown" in vague[2]
    assert "too few seeds" in figure6_sentences(summary([1.0], [2.0], [5]))[1]
    (never,) = figure6_sentences(summary([1.0, 1.0], [1.0, 1.0], [0, 0]))
    assert never.startswith("Resampling never fired")
