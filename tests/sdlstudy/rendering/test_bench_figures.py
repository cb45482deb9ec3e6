"""Figures 4 and 5 show the given numbers."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from sdlcore.evaluation.absorption import absorption, families
from sdlcore.evaluation.recovery import Match
from sdlcore.evaluation.zero_loss import Solution
from sdlcore.model.coder import SparseCoder
from sdlcore.run import ModelConfig
from sdlcore.sources.bench.samples import synthesise
from sdlstudy.rendering.figure4 import Learned, figure4, figure4_rows, least_recovering
from sdlstudy.rendering.figure5 import Shown, family_of, figure5
from tests.sdlstudy.products.test_figure4 import spurious
from tests.sdlstudy.products.test_figure5 import HIERARCHY, hierarchical


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_figure4_prints_loss_cosines_and_silent_latents():
    W, x, both = spurious(3)
    model = SparseCoder.of(ModelConfig(n_q=6), (3,), (3,))
    solution = Solution.of(model.eval(), W, x, synthesise(x, W))
    words = texts(figure4(W, Learned(both, both), solution, "a title"))
    for text in ("a title", f"loss {solution.loss:.1e}", "0 of 4 recovered", "6 never (grey)", "$n_q$ = 6", "$w_{4}$"):
        assert text in words
    assert list(figure4_rows({3: solution}, 3)["fvu"]) == [solution.fvu]
    with pytest.raises(ValueError, match="3 x n"):
        figure4(W[:2], Learned(both, both), solution, "")
    with pytest.raises(ValueError, match="expected n_q x 3 for both"):
        figure4(W, Learned(both, both[:5]), solution, "")


def test_figure5_outlines_absorbed_pairs_on_both_sides():
    W, x = hierarchical(0)
    latents, decoder = x.toarray().astype(float), W.T.copy()
    for child in list(HIERARCHY.family(1))[:2]:
        decoder[child] += W[:, 1]
        latents[latents[:, child] > 0, 1] = 0
    pairs = pd.DataFrame(absorption(latents, x, decoder, W, HIERARCHY))
    assert family_of(pairs) == 1
    family = families(latents, x, decoder, W, HIERARCHY)[1]
    figure = figure5([Shown("mine, seed 0", family, pairs[pairs["parent"] == 1], 1 / 3)])
    left_axes, right_axes = figure.axes[:2]
    # each outline is a white rectangle inside a black one
    corners = [{(p.get_x() + 0.45, p.get_y() + 0.45) for p in axes.patches} for axes in (left_axes, right_axes)]
    assert [sorted(map(tuple, np.round(sorted(places)))) for places in corners] == [[(0, 1), (0, 2)], [(0, 0), (1, 0)]]
    words = texts(figure)
    for text in (
        "mine, seed 0\n2 of 3 pairs absorbed",
        "over all families: 0.33",
        "(child 3’s)",
        f"{family.response[0, 2]:.2f}",
    ):
        assert text in words


def test_a_family_without_samples_is_drawn_empty():
    W, x = hierarchical(0)
    empty = type(x)((0, x.shape[1]), dtype=np.float32)
    latents = empty.toarray()
    pairs = pd.DataFrame(absorption(latents, empty, W.T, W, HIERARCHY))
    family = families(latents, empty, W.T, W, HIERARCHY)[0]
    figure = figure5([Shown("mine", family, pairs[pairs["parent"] == 0], np.nan)])
    figure.canvas.draw()
    assert not np.isfinite(family.response).any()
    assert len(figure.axes) >= 2


def judged(fvu, encoder, decoder):
    match = [Match(np.array(values), np.zeros(len(values), int)) for values in (encoder, decoder)]
    return Solution(fvu, fvu, fvu, 1.0, np.zeros(6, bool), *match)


def test_figure4_shows_the_lossless_solution_that_recovers_fewest():
    worst = judged(0.5, [0.1, 0.1], [0.1, 0.1])
    both = judged(1e-6, [0.95, 0.2], [0.95, 0.2])
    near, nearer = judged(1e-9, [0.89, 0.8], [0.89, 0.8]), judged(1e-5, [0.7, 0.8], [0.7, 0.8])
    assert least_recovering([worst, both, near, nearer]) == 3
    assert least_recovering([worst, both, near]) == 2
    assert least_recovering([worst, both]) == 1
    assert least_recovering([worst, judged(0.1, [0.99, 0.99], [0.99, 0.99])]) == 1
