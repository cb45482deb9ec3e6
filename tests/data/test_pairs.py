import numpy as np
import pytest

from sdlcore.data.pairs import make_direction_pair, make_pair, pair_sites

INPUT, TARGET = np.eye(4)[:3], 2 * np.ones((3, 2))


def test_each_pair_is_what_section_2_4_says():
    x_p, x_r = make_pair("sae", INPUT, TARGET)
    assert x_p is x_r is INPUT
    x_p, x_r = make_pair("transcoder", INPUT, TARGET)
    assert (x_p is INPUT, x_r is TARGET) == (True, True)
    x_p, x_r = make_pair("crosscoder", INPUT, TARGET)
    assert (x_p == np.concatenate([INPUT, TARGET], 1)).all()
    assert x_p is x_r


@pytest.mark.parametrize(
    ("pair", "sites"), [("sae", ((4,), (4,))), ("transcoder", ((4,), (2,))), ("crosscoder", ((4, 2), (4, 2)))]
)
def test_sites_are_the_widths_of_pairs(pair, sites):
    assert pair_sites(pair, 4, 2) == sites
    assert tuple(sum(widths) for widths in sites) == tuple(x.shape[1] for x in make_pair(pair, INPUT, TARGET))


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_directions_have_unit_norm(pair):
    w_r = TARGET / np.linalg.norm(TARGET, axis=1, keepdims=True)
    for w in make_direction_pair(pair, INPUT, w_r):
        assert np.linalg.norm(w, axis=1) == pytest.approx(1)


@pytest.mark.parametrize("pair", ["transcoder", "crosscoder"])
def test_a_pair_needs_a_target(pair):
    with pytest.raises(ValueError, match=f"pair {pair} needs a source with a target"):
        make_pair(pair, INPUT, None)
    with pytest.raises(ValueError, match=f"pair {pair} needs a source with a target"):
        pair_sites(pair, 4, None)
