"""A history's recovery equals the recovery in evaluations of the same weights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.evaluation.recovery import best_match, gt_recovery, normalise_rows
from sdlcore.training.watch import watch_directions

RNG = np.random.default_rng(0)
W_P, W_R = (normalise_rows(RNG.standard_normal((7, d))).T.astype(np.float32) for d in (6, 5))
WIDTHS = {"sae": (6, 6), "transcoder": (6, 5), "crosscoder": (11, 11)}


@given(st.sampled_from(sorted(WIDTHS)), st.sets(st.integers(0, 6)), st.floats(0.1, 10))
def test_it_counts_the_features_that_are_among_the_rows(pair, learned_features, scale):
    both = normalise_rows(np.concatenate([W_P, W_R]).T)
    true = {"sae": (W_P.T, W_P.T), "transcoder": (W_P.T, W_R.T), "crosscoder": (both, both)}[pair]
    noise = RNG.standard_normal((3, WIDTHS[pair][0])), RNG.standard_normal((3, WIDTHS[pair][1]))
    rows = [
        np.concatenate([scale * t[sorted(learned_features)], n]).astype(np.float32)
        for t, n in zip(true, noise, strict=True)
    ]
    recovery = watch_directions((W_P, W_R), pair)(
        dict(zip(("encoder", "decoder"), map(torch.from_numpy, rows), strict=True))
    )
    for side, W, t in zip(("encoder", "decoder"), rows, true, strict=True):
        expected = gt_recovery(best_match(normalise_rows(W), t))
        assert recovery[f"gt_recovery_{side}"] == pytest.approx(expected)
        assert expected >= len(learned_features) / 7


def test_a_dictionary_of_one_side_has_the_recovery_of_that_side():
    assert watch_directions((W_P, W_R), "sae")({"decoder": torch.from_numpy(W_P.T)}) == {"gt_recovery_decoder": 1.0}
